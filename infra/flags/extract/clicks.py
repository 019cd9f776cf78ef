"""Commands that are declared by decorators: `kt run` (click), `hf download` (argparse, later typer)."""

import ast
from collections.abc import Mapping
from typing import Any

from infra.flags.extract.entries import entries
from infra.flags.extract.evaluate import Frame
from infra.flags.extract.hints import followed
from infra.flags.extract.program import Module, Program
from infra.flags.extract.records import shown
from infra.flags.extract.run import Interpreter
from infra.flags.extract.values import ClassRef, ParserObject

KT_FOLDERS = ("kt_kernel/cli/commands/run.py", "kt_kernel/experts.py")
HUB_FOLDERS = ("huggingface_hub/cli/", "huggingface_hub/commands/")
_FORMATTING: Mapping[str, dict[str, Any]] = {
    "--format": {"kind": "text", "source": "huggingface_hub/cli/_cli_utils.py"},
    "--json": {"kind": "switch", "source": "huggingface_hub/cli/_cli_utils.py"},
    "--quiet": {"kind": "switch", "aliases": ["-q"], "source": "huggingface_hub/cli/_cli_utils.py"},
    "--no-truncate": {"kind": "switch", "source": "huggingface_hub/cli/_cli_utils.py"},
}
"""What `hf` 2 takes out of every command's words before the command sees them."""
_TYPES = {"int": "int", "float": "float", "str": "text", "bool": "switch"}


def kt_run(sources: Mapping[str, str]) -> dict[str, Any]:
    """The table of `kt run`."""
    module = Program(sources).module("kt_kernel.cli.commands.run")
    node = module.names.get("run") if module else None
    if module is None or not isinstance(node, ast.FunctionDef):
        raise KeyError("kt_kernel/cli/commands/run.py: run")
    interpreter = Interpreter(Program(sources))
    flags: dict[str, dict[str, Any]] = {}
    positionals: dict[str, str] = {}
    for call in node.decorator_list:
        if not isinstance(call, ast.Call):
            continue
        names = [one.value for one in call.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        keywords = {one.arg: interpreter.value(Frame(module), one.value) for one in call.keywords if one.arg}
        where = f"{module.path}:{call.lineno}"
        if ast.unparse(call.func) == "click.argument":
            positionals[names[0]] = "?" if keywords.get("required") is False else "1"
        elif ast.unparse(call.func) == "click.option":
            name, entry = _click_option(names, keywords)
            flags[name] = {**entry, "source": where}
    methods = _methods(interpreter)
    if "--kt-method" in flags and methods:
        flags["--kt-method"]["registered"] = methods
    return {"parser": "click-open", "positionals": positionals, "traits": [], "flags": dict(sorted(flags.items()))}


def _click_option(names: list[str], keywords: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    dashed = [one for one in names if one.startswith("-")]
    long = next((one for one in dashed if one.startswith("--")), dashed[0])
    kind = "switch" if keywords.get("is_flag") else _TYPES.get(repr(keywords.get("type", "str")).strip("'"), "text")
    entry: dict[str, Any] = {"kind": kind}
    aliases = [one for one in dashed if one != long]
    if aliases:
        entry["aliases"] = aliases
    if keywords.get("multiple"):
        entry["many"] = "append"
    default = shown(keywords.get("default"))
    if default not in (None, "()", "false"):
        entry["default"] = default
    return long, entry


def _methods(interpreter: Interpreter) -> list[str]:
    """The inference methods that kt-kernel names in its code."""
    module = interpreter.program.module("kt_kernel.experts")
    found: set[object] = set()
    if module is None:
        return []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Compare) and "method" in ast.unparse(node.left):
            for one in node.comparators:
                value = interpreter.value(Frame(module), one)
                found |= {value} if isinstance(value, str) else set(interpreter.items(value) or ())
    return sorted(one for one in found if isinstance(one, str) and one.isupper() and not one.endswith("_SFT"))


def hub_download(sources: Mapping[str, str]) -> dict[str, Any]:
    """The table of `hf download`."""
    return _download(sources, "huggingface_hub.cli.download")


def cli_download(sources: Mapping[str, str]) -> dict[str, Any]:
    """The table of `huggingface-cli download`, which releases before 1.0 have."""
    return _download(sources, "huggingface_hub.commands.download")


def _download(sources: Mapping[str, str], path: str) -> dict[str, Any]:
    program = Program(sources)
    interpreter = Interpreter(program)
    module = program.module(path)
    if module is None:
        raise KeyError(path)
    cls = module.names.get("DownloadCommand")
    if isinstance(cls, ast.ClassDef):
        method = interpreter.method(ClassRef(module, cls), "register_subcommand")
        assert method is not None
        parser = ParserObject()
        interpreter.call(method, [parser], {})
        flags, positionals = entries(interpreter, parser.added)
        return {"parser": "argparse", "positionals": positionals, "traits": [], "flags": flags}
    node = module.names.get("download") or module.names.get("hf_download")
    if not isinstance(node, ast.FunctionDef):
        raise KeyError("huggingface_hub/cli/download.py: download")
    table = _typer(interpreter, module, node)
    common = program.module("huggingface_hub.cli._cli_utils")
    if common is not None and "QuietOpt" in common.names:
        table["flags"] = dict(sorted({**_FORMATTING, **table["flags"]}.items()))
    return table


def _typer(interpreter: Interpreter, module: Module, node: ast.FunctionDef) -> dict[str, Any]:
    flags: dict[str, dict[str, Any]] = {}
    positionals: dict[str, str] = {}
    for one in node.args.args:
        if one.annotation is None:
            continue
        declared = _declaration(interpreter, module, one.annotation)
        annotation = followed(interpreter, module, one.annotation)
        names = _option_names(declared)
        name = (
            f"--{one.arg.replace('_', '-')}" if not names else next((n for n in names if n.startswith("--")), names[0])
        )
        if declared is not None and "Argument" in ast.unparse(declared.func):
            positionals[one.arg] = "*" if annotation.has("list") else "1"
            continue
        kind = next((hint.kind for hint in annotation.hints if hint.kind != "none"), "str")
        entry: dict[str, Any] = {"kind": {"int": "int", "float": "float", "bool": "bool"}.get(kind, "text")}
        if kind == "bool":
            entry["negative"] = [f"--no-{name[2:]}"]
        if kind == "list":
            entry["many"] = "append"
        cls = next((hint.cls for hint in annotation.hints if hint.cls is not None), None)
        if cls is not None:
            entry["choices"] = [str(member.value) for member in interpreter.members(cls)]
        literal = annotation.first("literal")
        if literal is not None:
            entry["choices"] = [str(value) for value in literal.values]
        aliases = [other for other in names if other != name]
        flags[name] = {**entry, **({"aliases": aliases} if aliases else {}), "source": f"{module.path}:{one.lineno}"}
    return {"parser": "typer", "positionals": positionals, "traits": [], "flags": dict(sorted(flags.items()))}


def _declaration(interpreter: Interpreter, module: Module, annotation: ast.expr) -> ast.Call | None:
    """The `typer.Option(...)` or `typer.Argument(...)` that stands beside the type."""
    node: ast.expr | None = annotation
    if isinstance(node, ast.Name):
        found = interpreter.program.find(module, node.id)
        node = found[1] if found and isinstance(found[1], ast.expr) else None
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
        return next((one for one in node.slice.elts if isinstance(one, ast.Call)), None)
    return None


def _option_names(call: ast.Call | None) -> list[str]:
    values = [one.value for one in call.args if isinstance(one, ast.Constant)] if call else []
    parts = [part for one in values if isinstance(one, str) and one.startswith("-") for part in one.split("/")]
    return [part.strip() for part in parts if not part.strip().startswith("--no-")]
