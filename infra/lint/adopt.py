"""A linted command becomes a stack file that renders to the same command; what can't be taken over is said in it."""

import json
import re
from collections.abc import Mapping

import yaml

from hosts.errors import InputError
from hosts.problem import Problem
from hosts.schema import explained, parse_yaml
from infra import spec, stack_file
from infra.engines import ktransformers, sglang, trtllm, vllm
from infra.flags import table as tables
from infra.flags.check import Checked, Option, check
from infra.flags.words import UNKNOWN, Token
from infra.lint import batch
from infra.lint.result import LintedCommand, LintResult
from infra.lint.stack_text import Adopted, text_of
from infra.rules.recognise import recognise

_SERVERS = frozenset({"vllm", "sglang", "sglang-kt", "trtllm"})
_BENCH = frozenset({"vllm bench serve", "benchmark_moe.py", "kt run"})
_RESERVED: Mapping[str, Mapping[str, str]] = {
    "vllm": vllm.RESERVED,
    "sglang": sglang.RESERVED,
    "sglang-kt": sglang.RESERVED,
    "trtllm": trtllm.RESERVED,
    "ktransformers": ktransformers.RESERVED,
}
_PARALLEL: Mapping[str, str] = {
    "tensor-parallel-size": "tensor",
    "tp-size": "tensor",
    "tensor_parallel_size": "tensor",
    "tp_size": "tensor",
    "pipeline-parallel-size": "pipeline",
    "pp-size": "pipeline",
    "pipeline_parallel_size": "pipeline",
    "pp_size": "pipeline",
    "data-parallel-size": "data",
    "dp-size": "data",
    "attn-dp-size": "data",
    "decode-context-parallel-size": "decode_context",
}
_SILENT = frozenset(
    {"nnodes", "node-rank", "master-addr", "headless", "dist-init-addr", "data-parallel-address"}
    | {"data-parallel-start-rank", "data-parallel-size-local", "enable-dp-attention"}
    | {"model", "model-path", "config", "extra_llm_api_options"}
)
"""Options that have a place of their own, or that the launcher sets; nothing of what the command says is lost."""
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - what Slipway's servers listen on
_PORTS = {"sglang": 30000, "sglang-kt": 30000}
"""The engines' own defaults, where that is not 8000."""


def adopt(result: LintResult, stack: str) -> str:
    """The text of `stacks/Pulumi.<stack>.yaml`. Raises InputError where the document has no server's command."""
    servers = [command for command in result.commands if _is_server(command)]
    if not servers:
        what = f"{result.name}, which starts no server of {', '.join(sorted(_SERVERS))}"
        raise InputError([Problem(where="$", found=what, wanted="a command that starts one")])
    command = servers[0]
    found = _read(command, result)
    found.notes += [
        f"line {other.line} starts another server ({other.engine}), which is not in this file"
        for other in servers[1:]
        if not _is_other_rank(other)
    ]
    text = text_of(command, found, result.name, stack)
    for problem in _problems(text, stack):
        found.notes.append(f"not right yet: {problem.where}: found {problem.found}, wanted {problem.wanted}")
    return text_of(command, found, result.name, stack)


def _is_other_rank(command: LintedCommand) -> bool:
    """Whether it is the same server's process on another node."""
    for option in _options(command):
        if option.name in ("--headless", "--data-parallel-start-rank") or (
            option.name == "--node-rank" and option.value != 0
        ):
            return True
    return False


def _is_server(command: LintedCommand) -> bool:
    return (
        command.engine in _SERVERS
        and command.checked is not None
        and command.launch.found.program not in _BENCH | {"sglang_router.launch_router"}
    )


def _read(command: LintedCommand, result: LintResult) -> Adopted:
    """Every option at its place."""
    launcher, notes = batch.launcher(command)
    port = _PORTS.get(command.engine, 8000)
    found = Adopted(env=_environment(command), launcher=launcher, port=port, notes=notes)
    checked = _checked(command)
    for option in checked.options:
        _take(found, command.engine, option)
    _model(found, command, checked)
    if command.engine.startswith("sglang"):
        _attention(found, checked)
    if command.engine == "trtllm":
        _yaml(found, checked, result)
    return found


def _checked(command: LintedCommand) -> Checked:
    """The options of the corrected command, where there is one."""
    names = command.launch.found.names
    assert command.checked is not None
    if command.corrected is None:
        return command.checked
    known = {token.text: token for token in command.words}
    words = [known.get(word, Token(text=word, line=command.line)) for word in command.corrected[names:]]
    return check(tables.load(command.engine, command.table), words, module=True)


def _take(found: Adopted, engine: str, option: Option) -> None:
    name, value = option.name.lstrip("-"), option.value
    written = " ".join((option.written, *(token.text for token in option.values))).strip()
    if not name:
        found.notes.append(f"{written}: the release has no such option")
    elif name == "port":
        _port(found, value, written)
    elif name in _PARALLEL or name == "enable-expert-parallel":
        _part(found, name, value, written)
    elif name in _SILENT or (name == "host" and value in (*_EVERYWHERE, UNKNOWN)):
        return
    elif name == "speculative-draft-model-path":
        _draft(found, option, written)
    elif name in _RESERVED[engine]:
        shown = option.written if "key" in name else written
        found.notes.append(f"{shown}: {_RESERVED[engine][name]}")
    else:
        _argument(found, name, option, written)


def _part(found: Adopted, name: str, value: object, written: str) -> None:
    """Into how many pieces the model is cut."""
    if name == "enable-expert-parallel":
        found.parallelism["expert"] = value is True
    elif isinstance(value, int):
        found.parallelism[_PARALLEL[name]] = value
    else:
        found.notes.append(f"{written}: known only at run time; set it in slipway:parallelism")


def _argument(found: Adopted, name: str, option: Option, written: str) -> None:
    value = _plain(option.value)
    if value is UNKNOWN and len(option.values) == 1 and option.values[0].text.startswith("{"):
        value = _partly(found, name, option.values[0].text)
    if value is UNKNOWN or value is None:
        found.notes.append(f"{written}: its value is known only at run time")
    else:
        found.args[name] = value


def _partly(found: Adopted, name: str, text: str) -> object:
    """JSON of which some texts are known only at run time: the rest of it."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return UNKNOWN
    if not isinstance(value, dict):
        return UNKNOWN
    for key in [key for key, item in value.items() if isinstance(item, str) and "$" in item]:
        text = str(value.pop(key))
        draft = recognise(text)
        if key == "model" and draft:
            found.draft = draft.name
        else:
            found.notes.append(f"--{name} {key} {text}: known only at run time")
    return value or UNKNOWN


def _plain(value: object) -> object:
    """A value as YAML writes it."""
    if isinstance(value, Mapping):
        items = {str(key): _plain(item) for key, item in value.items()}
        return UNKNOWN if any(item is UNKNOWN or item is None for item in items.values()) else items
    if isinstance(value, tuple) and len(value) == 1:
        return _plain(value[0])
    if isinstance(value, tuple):
        parts = [_plain(item) for item in value]
        return UNKNOWN if any(part is UNKNOWN for part in parts) else parts
    if isinstance(value, str) and re.search(r"[\x00-\x1f\x7f]", value):
        return UNKNOWN
    return value


def _port(found: Adopted, value: object, written: str) -> None:
    if isinstance(value, int) and 1024 <= value <= 65535:
        found.port = value
    else:
        found.notes.append(f"{written}: no port from 1024 to 65535 that is known; slipway:port is {found.port}")


def _draft(found: Adopted, option: Option, written: str) -> None:
    draft = recognise(option.values[0].text) if option.values else None
    if draft:
        found.draft = draft.name
    else:
        found.notes.append(f"{written}: not a model of infra/models; add it there, and set slipway:draft")


def _model(found: Adopted, command: LintedCommand, checked: Checked) -> None:
    named = [option for option in checked.options if option.name in ("--model", "--model-path") and option.values]
    text = named[-1].values[0].text if named else checked.positionals[0].text if checked.positionals else ""
    served = [option for option in checked.options if option.name == "--served-model-name" and option.values]
    model = recognise(text) or (recognise(served[0].values[0].text) if served else None)
    if model:
        found.model = model.name
    else:
        found.model = "kimi-k2"
        found.notes.append(
            f"{text or 'the model'}: not known to be a model of infra/models; kimi-k2 stands in its place"
        )
    if not served and command.engine != "trtllm":
        found.notes.append("no --served-model-name: Slipway gives the model's repository as its name")


def _attention(found: Adopted, checked: Checked) -> None:
    """SGLang's `--tp-size` counts attention's replicas too; Slipway's tensor does not."""
    data = found.parallelism.get("data", 1)
    tensor = found.parallelism.get("tensor", 1)
    together = any(option.name in ("--enable-dp-attention", "--attn-dp-size") for option in checked.options)
    if data > 1 and together and tensor % data == 0:
        found.parallelism["tensor"] = tensor // data
    elif data > 1:
        found.notes.append(f"--dp-size {data}: replicas without data-parallel attention have no place in a stack file")
        del found.parallelism["data"]


def _yaml(found: Adopted, checked: Checked, result: LintResult) -> None:
    """TensorRT-LLM's YAML, where the document writes it."""
    from infra.lint.manifest import plain  # noqa: PLC0415 - beside the reader of manifests

    for option in checked.options:
        if option.name.lstrip("-") not in ("config", "extra_llm_api_options") or not option.values:
            continue
        path = option.values[0].text
        written = result.document.files.get(path)
        content = plain(written.text) if written else None
        if not isinstance(content, dict):
            found.notes.append(f"{option.written} {path}: not in the document; write its content under engine.config")
            continue
        for key, value in content.items():
            if key == "enable_attention_dp" and value is True:
                found.parallelism["data"] = found.parallelism.pop("tensor", 1)
                found.parallelism["tensor"] = 1
            elif key in trtllm.RESERVED_YAML:
                found.notes.append(f"{key} of {path}: {trtllm.RESERVED_YAML[key]}")
            else:
                found.config[str(key)] = value


def _environment(command: LintedCommand) -> dict[str, str]:
    """The variables that belong to the engine, and that a stack file may set."""
    kept: dict[str, str] = {}
    for name, value in command.launch.env.items():
        own = re.match(r"VLLM_|SGL|NCCL_|GLOO_|MC_|TRTLLM_|TLLM_|CUDA_|TORCH|UCX_|OMP_|NVSHMEM_|KT_", name)
        refused = stack_file.ENV_REFUSED.fullmatch(name) or stack_file.ENV_SECRET.fullmatch(name)
        if own and not refused and stack_file.ENV_NAME.fullmatch(name) and value:
            kept[name] = value
    return kept


def _options(command: LintedCommand) -> tuple[Option, ...]:
    return command.checked.options if command.checked else ()


def _problems(text: str, stack: str) -> tuple[Problem, ...]:
    """What the stack file's own reader says of it."""
    try:
        spec.parse(stack, parse_yaml(text), f"Pulumi.{stack}.yaml")
    except InputError as error:
        return tuple(problem for problem in error.problems if problem.level == "error")
    except yaml.YAMLError as error:
        return (Problem(where="$", found=explained(error), wanted="YAML"),)
    return ()
