"""vLLM's package: `vllm serve` and `vllm bench serve`."""

import ast
from collections.abc import Mapping

from infra.flags.extract.entries import entries
from infra.flags.extract.evaluate import Evaluator, Frame, Hook
from infra.flags.extract.kwargs import NOTE, Rules, get_kwargs
from infra.flags.extract.program import Module, Program
from infra.flags.extract.records import nested_classes
from infra.flags.extract.run import Interpreter
from infra.flags.extract.values import ClassRef, FunctionRef, Known, Opaque, ParserObject

FOLDERS = (
    "vllm/engine/",
    "vllm/entrypoints/",
    "vllm/config",
    "vllm/utils",
    "vllm/reasoning/",
    "vllm/tool_parsers/",
    "vllm/benchmarks/",
    "vllm/platforms/interface.py",
    "vllm/envs.py",
    "vllm/v1/attention/backends/registry.py",
    "vllm/attention/backends/registry.py",
    "vllm/model_executor/layers/quantization/__init__.py",
    "vllm/model_executor/model_loader/__init__.py",
    "vllm/lora/",
    "vllm/logger.py",
    "vllm/compilation/passes/inductor_pass.py",
    "vllm/sampling_params.py",
    "vllm/renderers/",
)
"""What of the wheel is read."""
_VERIFIED = {"--gpu-memory-utilization": ">0 <=1"}
"""Bounds that releases without pydantic's check by hand."""
_MAPPINGS = ("--hf-overrides", "--model-loader-extra-config")
"""Options whose parser lets any text through, and whose class then wants a mapping."""


def serve(sources: Mapping[str, str]) -> dict[str, Known]:
    """The table of `vllm serve`."""
    interpreter, _ = _interpreter(sources)
    parser = ParserObject()
    for path in ("vllm.entrypoints.openai.cli_args", "vllm.entrypoints.common.cli_args"):
        module = interpreter.program.module(path)
        node = module.names.get("make_arg_parser") if module else None
        if module is not None and isinstance(node, ast.FunctionDef):
            interpreter.call(FunctionRef(module, node), [parser], {})
            break
    _subcommand(interpreter, parser)
    traits = _traits(interpreter.program)
    flags, positionals = entries(interpreter, parser.added, pairs="paired" in traits)
    _amend(interpreter, parser, flags)
    roots = _roots(interpreter, parser, flags)
    return {
        "parser": "flexible",
        "positionals": positionals,
        "traits": sorted(traits),
        "flags": flags,
        "classes": nested_classes(interpreter, roots, frozenset(("SpeculativeConfig", "LoRAModulePath"))),
        "variables": " ".join(sorted(_variables(interpreter.program))),
    }


def _roots(
    interpreter: Interpreter, parser: ParserObject, flags: Mapping[str, dict[str, Known]]
) -> dict[str, ClassRef]:
    """The classes that JSON options name."""
    notes = [one.keywords[NOTE] for one in parser.added if isinstance(one.keywords.get(NOTE), dict)]
    roots = {name: cls for note in notes for name, cls in note["classes"].items()}
    _speculative(interpreter, flags, roots)
    adapters = interpreter.program.module("vllm.entrypoints.openai.models.protocol")
    node = adapters.names.get("LoRAModulePath") if adapters else None
    if adapters is not None and isinstance(node, ast.ClassDef):
        roots["LoRAModulePath"] = ClassRef(adapters, node)
    return roots


def _amend(interpreter: Interpreter, parser: ParserObject, flags: dict[str, dict[str, Known]]) -> None:
    """What the engine checks behind its parser: bounds, mappings, names that are registered."""
    for name, limits in _VERIFIED.items():
        if name in flags:
            flags[name].setdefault("limits", limits)
    for name in _MAPPINGS:
        if flags.get(name, {}).get("kind") == "json-or-text":
            flags[name].update(kind="json", shape={"dict": "any"})
    methods = interpreter.program.module("vllm.model_executor.layers.quantization")
    names = interpreter.constant(methods, "QuantizationMethods") if methods else ()
    if "--quantization" in flags and isinstance(names, tuple) and names:
        flags["--quantization"]["registered"] = sorted(names)
    loaders = interpreter.program.module("vllm.model_executor.model_loader")
    formats = interpreter.constant(loaders, "LoadFormats") if loaders else ()
    if "--load-format" in flags and isinstance(formats, tuple) and formats:
        flags["--load-format"]["registered"] = sorted(formats)
    parallel = interpreter.program.module("vllm.config.parallel")
    backends = interpreter.constant(parallel, "DataParallelBackend") if parallel else ()
    if "--data-parallel-backend" in flags and isinstance(backends, tuple) and backends:
        flags["--data-parallel-backend"]["choices"] = sorted(backends)
    for name in ("--tool-call-parser", "--reasoning-parser"):
        known = _parsers(interpreter.program, name)
        given = next((one.keywords for one in parser.added if name in one.names), {})
        if name in flags and known and not flags[name].get("choices"):
            flags[name] = {**flags[name], "choices" if "choices" in given else "registered": known}


def bench(sources: Mapping[str, str]) -> dict[str, Known]:
    """The table of `vllm bench serve`."""
    interpreter, _ = _interpreter(sources)
    parser = ParserObject()
    module = interpreter.program.module("vllm.benchmarks.serve")
    node = module.names.get("add_cli_args") if module else None
    if module is None or not isinstance(node, ast.FunctionDef):
        raise KeyError("vllm/benchmarks/serve.py: add_cli_args")
    interpreter.call(FunctionRef(module, node), [parser], {})
    traits = _traits(interpreter.program) & {"dotted", "dotted-suffix", "paired", "json-suffix"}
    flags, positionals = entries(interpreter, parser.added, pairs="paired" in traits)
    return {"parser": "flexible", "positionals": positionals, "traits": sorted(traits), "flags": flags}


def _interpreter(sources: Mapping[str, str]) -> tuple[Interpreter, Rules]:
    """An interpreter that knows what vLLM's own helpers make of their arguments."""
    program = Program(sources)
    interpreter = Interpreter(program)
    module = program.module("vllm.engine.arg_utils")
    if module is None:
        raise KeyError("vllm/engine/arg_utils.py")
    rules = Rules(interpreter, module)

    def kwargs_of(running: Evaluator, args: list[Known], _: dict[str, Known]) -> Known:
        return get_kwargs(running, args[0], rules) if isinstance(args[0], ClassRef) else {}

    def named(name: str) -> Hook:
        return lambda _, args, __: Opaque(f"{name}({args[0]!r})")

    interpreter.hooks = {
        "get_kwargs": kwargs_of,
        "_compute_kwargs": kwargs_of,
        **{name: named(name) for name in ("optional_type", "parse_type")},
    }
    return interpreter, rules


def _subcommand(interpreter: Interpreter, parser: ParserObject) -> None:
    """Options that the `serve` subcommand adds itself."""
    module = interpreter.program.module("vllm.entrypoints.cli.serve")
    cls = module.names.get("ServeSubcommand") if module else None
    if module is None or not isinstance(cls, ast.ClassDef):
        return
    known = {name for one in parser.added for name in one.names}
    method = interpreter.method(ClassRef(module, cls), "subparser_init")
    if method is None:
        return
    again = ParserObject()
    interpreter.call(method, [again], {})
    parser.added += [one for one in again.added if one.names and one.names[0] not in known]


def _speculative(interpreter: Interpreter, flags: Mapping[str, dict[str, Known]], roots: dict[str, ClassRef]) -> None:
    """The one JSON option that is parsed as a plain mapping and later handed to its class as keywords."""
    flag = flags.get("--speculative-config")
    for path in ("vllm.config.speculative", "vllm.config"):
        module = interpreter.program.module(path)
        node = module.names.get("SpeculativeConfig") if module else None
        if flag is not None and module is not None and isinstance(node, ast.ClassDef):
            roots.setdefault("SpeculativeConfig", ClassRef(module, node))
            flag["shape"] = [{"class": "SpeculativeConfig"}, "none"]
            return


def _traits(program: Program) -> set[str]:
    """The rules of the release's parser, as its source shows them."""
    module = program.module("vllm.utils.argparse_utils") or program.module("vllm.utils")
    node = module.names.get("FlexibleArgumentParser") if module else None
    text = ast.unparse(node) if isinstance(node, ast.ClassDef) else ""
    texts = {
        "dotted": "create_nested_dict",
        "O-optimization": "--optimization-level",
        "O-level": "-O.level",
        "model-moved": "removeprefix('--model=')",
        "model-first": "--served[-_]model[-_]name",
        "dotted-suffix": "human_readable_int(value_str)",
    }
    found = {trait for trait, sign in texts.items() if sign in text}
    if "model_in_cli_args" in text and "model-moved" not in found:
        found.add("model-refused")
    whole = ast.unparse(module.tree) if module else ""
    if "class EnableDisableAction" in whole:
        found.add("paired")
    engine = program.module("vllm.engine.arg_utils")
    if engine is not None and "_expand_json_human_readable_numbers" in engine.names:
        found.add("json-suffix")
    return found


def _parsers(program: Program, flag: str) -> list[str]:
    """Names under which parsers are registered: by decorator, by call, or in a table of lazy imports."""
    folders = (
        ("vllm/tool_parsers/", "vllm/entrypoints/openai/tool_parsers/") if "tool" in flag else ("vllm/reasoning/",)
    )
    found: set[str] = set()
    for path in program.sources:
        if not path.startswith(folders):
            continue
        module = program.module(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        if module is not None:
            found |= _registered(program, module)
    return sorted(found)


def _registered(program: Program, module: Module) -> set[str]:
    found: set[str] = set()
    for name, node in module.names.items():
        if name.isupper() or name.startswith("_"):
            keys = list(node.keys) if isinstance(node, ast.Dict) and "PARSERS" in name else []
            found |= {key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
    for call in ast.walk(module.tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        if call.func.attr in ("register_module", "register_lazy_module"):
            arguments = [*call.args[:1], *(one.value for one in call.keywords if one.arg == "name")]
            for one in arguments:
                value = Interpreter(program).value(Frame(module), one)
                names = [value] if isinstance(value, str) else value if isinstance(value, list) else []
                found |= {name for name in names if isinstance(name, str)}
    return found


def _variables(program: Program) -> set[str]:
    """The environment variables that `vllm/envs.py` reads."""
    module = program.module("vllm.envs")
    node = module.names.get("environment_variables") if module else None
    keys = node.keys if isinstance(node, ast.Dict) else []
    return {key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
