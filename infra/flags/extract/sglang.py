"""SGLang's package: its server, and the router that is a package of its own."""

import ast
import re
from collections.abc import Mapping

from infra.flags.extract.entries import entries
from infra.flags.extract.evaluate import Evaluator
from infra.flags.extract.hints import Annotated, Hint
from infra.flags.extract.program import Module, Program
from infra.flags.extract.records import NO_DEFAULT, Field, fields
from infra.flags.extract.run import Interpreter
from infra.flags.extract.values import Added, ClassRef, FunctionRef, Known, Made, Opaque, ParserObject

FOLDERS = (
    "sglang/srt/",
    "sglang/cli/",
    "sglang/utils.py",
    "sglang/launch_server.py",
    "sglang/kernels/ops/kv_canary/consts.py",
)
ROUTER_FOLDERS = ("sglang_router/",)
_MAPPINGS = ("--json-model-override-args", "--model-loader-extra-config", "--preferred-sampling-params")
"""Options that the parser keeps as text and the server reads as JSON when it starts."""
_VARIABLE = re.compile(r"\b(?:SGLANG|SGL)_[A-Z0-9_]*[A-Z0-9]\b")


def server(sources: Mapping[str, str]) -> dict[str, Known]:
    """The table of `sglang.launch_server`."""
    program = Program(sources)
    interpreter = Interpreter(program, {"add_cli_args_from_dataclass": _from_record})
    module = program.module("sglang.srt.server_args")
    if module is None:
        raise KeyError("sglang/srt/server_args.py")
    cls = next(
        (node for node in module.tree.body if isinstance(node, ast.ClassDef) and node.name == "ServerArgs"),
        None,
    )
    method = interpreter.method(ClassRef(module, cls), "add_cli_args") if cls is not None else None
    if method is None or cls is None:
        raise KeyError("sglang/srt/server_args.py: ServerArgs.add_cli_args")
    parser = ParserObject()
    interpreter.call(method, [parser], {})
    flags, positionals = entries(interpreter, parser.added, size="size-si")
    _parser_names(interpreter, flags)
    for name in _MAPPINGS:
        if flags.get(name, {}).get("kind") == "text":
            flags[name].update(kind="json", shape={"dict": "any"})
    traits = []
    if "def _normalize_positional_model_path" in sources.get("sglang/cli/serve.py", ""):
        traits.append("serve-model")
        flags["--model-type"] = {"kind": "text", "default": "auto", "source": "sglang/cli/serve.py"}
    return {
        "parser": "argparse",
        "positionals": positionals,
        "traits": traits,
        "flags": dict(sorted(flags.items())),
        "variables": " ".join(sorted({name for text in sources.values() for name in _VARIABLE.findall(text)})),
    }


def router(sources: Mapping[str, str]) -> dict[str, Known]:
    """The table of `sglang_router.launch_router`."""
    program = Program(sources)
    interpreter = Interpreter(program)
    module = program.module("sglang_router.router_args")
    cls = module.names.get("RouterArgs") if module else None
    if module is None or not isinstance(cls, ast.ClassDef):
        raise KeyError("sglang_router/router_args.py: RouterArgs")
    method = interpreter.method(ClassRef(module, cls), "add_cli_args")
    assert method is not None
    parser = ParserObject()
    interpreter.call(method, [parser], {"use_router_prefix": False})
    flags, positionals = entries(interpreter, parser.added)
    return {"parser": "argparse", "positionals": positionals, "traits": [], "flags": flags}


def _parser_names(interpreter: Interpreter, flags: dict[str, dict[str, Known]]) -> None:
    """Choices that are computed where the package runs: the keys of the detectors' tables."""
    tables = {
        "--tool-call-parser": ("FunctionCallParser", "ToolCallParserEnum", "function_call.function_call_parser"),
        "--reasoning-parser": ("ReasoningParser", "DetectorMap", "parser.reasoning_parser"),
    }
    for name, (cls, attribute, path) in tables.items():
        if name not in flags or flags[name].get("choices"):
            continue
        for place in (f"sglang.srt.{path}", f"sglang.srt.{path.rpartition('.')[2]}"):
            module = interpreter.program.module(place)
            node = module.names.get(cls) if module else None
            if module is not None and isinstance(node, ast.ClassDef):
                found = interpreter.class_attribute(ClassRef(module, node), attribute)
                names = interpreter.items(found)
                if names:
                    flags[name]["choices"] = [one for one in names if isinstance(one, str)]


def _from_record(interpreter: Evaluator, args: list[Known], _: dict[str, Known]) -> None:
    """`add_cli_args_from_dataclass(parser, cls)`: an option for each annotated field."""
    parser, cls = args[0], args[1]
    for one in _record_fields(interpreter, cls).values():
        made = _argument(one)
        if made is not None:
            parser.added.append(made)


def _record_fields(interpreter: Evaluator, cls: Known) -> dict[str, Field]:
    found: dict[str, Field] = fields(interpreter, cls) if isinstance(cls, ClassRef) else {}
    found = {name: one for name, one in found.items() if one.annotation.extras}
    if found:
        return found
    for path in sorted(interpreter.program.sources):
        if path.startswith("sglang/srt/arg_groups/fields/"):
            module = interpreter.program.module(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
            for node in module.tree.body if isinstance(module, Module) else ():
                if isinstance(node, ast.ClassDef) and module is not None:
                    found.update(fields(interpreter, ClassRef(module, node)))
    return found


def _argument(field: Field) -> Added | None:
    meta = _meta(field)
    if meta is None or meta.get("no_cli") is True:
        return None
    name = meta.get("cli_name") or "--" + field.name.replace("_", "-")
    names = (name, *(meta.get("aliases") or ()))
    keywords: dict[str, Known] = {"help": meta.get("help", "")}
    if field.default is not NO_DEFAULT:
        keywords["default"] = field.default
    if meta.get("fallback") is not None and keywords.get("default") is None:
        keywords["default"] = meta["fallback"]
    if meta.get("action") is not None:
        keywords.update(action=meta["action"], **(meta.get("action_kwargs") or {}))
        return Added(names, keywords, field.source)
    keywords.update(_typed(field.annotation, meta))
    asked = meta.get("required") is True or (meta.get("required") is None and field.default is NO_DEFAULT)
    if asked and "action" not in keywords and not any(one.kind == "list" for one in field.annotation.hints):
        keywords["required"] = True
    return Added(names, keywords, field.source)


def _meta(field: Field) -> dict[str, Known] | None:
    for one in field.annotation.extras:
        if isinstance(one, Made) and one.cls == "Arg":
            return {**one.keywords, **({"help": one.args[0]} if one.args else {})}
        if isinstance(one, str):
            return {"help": one}
        if isinstance(one, Opaque) and one.text.startswith("Arg("):
            return {}
    return None


def _typed(annotation: Annotated, meta: Mapping[str, Known]) -> dict[str, Known]:
    hints = [one for one in annotation.hints if one.kind != "none"]
    only = hints[0] if len(hints) == 1 else Hint("str")
    parser = meta.get("type_parser")
    found: dict[str, Known] = {}
    if only.kind == "literal":
        found["choices"] = meta.get("choices") or list(only.values)
        kind = type(only.values[0]).__name__ if only.values else "str"
        found["type"] = Opaque(kind if kind in ("int", "float") else "str")
    elif only.kind == "list" and only.container == "list" and parser is None:
        inner = only.inside[0].kind if len(only.inside) == 1 else "str"
        found.update(type=Opaque(inner if inner in ("int", "float") else "str"), nargs=meta.get("nargs") or "+")
    elif only.kind == "bool":
        return {"action": "store_true"}
    else:
        found["type"] = Opaque(only.kind if only.kind in ("int", "float") else "str")
        if meta.get("nargs"):
            found["nargs"] = meta["nargs"]
    if parser is not None:
        found["type"] = Opaque(parser.node.name) if isinstance(parser, FunctionRef) else parser
    if meta.get("choices"):
        found["choices"] = meta["choices"]
    return found
