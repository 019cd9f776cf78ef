"""The text of a stack file, from what a launch line says."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from infra import environments, stack_file
from infra.lint.result import LintedCommand

_GPUS_OF_DGX = 16


@dataclass(slots=True)
class Adopted:
    """The parts of the file, as they are found."""

    args: dict[str, object] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    config: dict[str, object] = field(default_factory=dict)
    parallelism: dict[str, int | bool] = field(default_factory=dict)
    port: int = 8000
    model: str = ""
    draft: str = ""
    notes: list[str] = field(default_factory=list)


def text_of(command: LintedCommand, found: Adopted, name: str, stack: str) -> str:
    """The whole file."""
    return "\n".join(_rows(command, found, name, stack)) + "\n"


def _rows(command: LintedCommand, found: Adopted, name: str, stack: str) -> Iterator[str]:
    corrected = ", corrected" if command.corrected else ""
    yield f"# {stack}: the command of {name}, line {command.line}{corrected}."
    yield "#   The fleet and the launcher are not the command's to say: put in yours."
    for note in found.notes:
        yield f"#   {' '.join(note.split())}"
    yield "config:"
    yield f"  slipway:fleet: {_fleet(found)}"
    yield f"  slipway:model: {found.model}"
    if found.draft:
        yield f"  slipway:draft: {found.draft}"
    yield "  slipway:engine:"
    yield f"    name: {command.engine}"
    yield f'    release: "{command.release}"'
    for key, values in (("args", found.args), ("env", found.env), ("config", found.config)):
        if values:
            yield f"    {key}:"
            yield from (f"      {_flow(option)}: {_flow(value)}" for option, value in values.items())
    yield f"  slipway:launcher: {_launcher(command)}"
    yield f"  slipway:parallelism: {_flow(found.parallelism or {'tensor': 1})}"
    yield _software(command)
    yield f'  slipway:port: "{found.port}"'


def _flow(value: object) -> str:
    """YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=1 << 20, allow_unicode=True, sort_keys=False)
    return text.removesuffix("...\n").strip()


def _fleet(found: Adopted) -> str:
    p = found.parallelism
    world = p.get("tensor", 1) * p.get("pipeline", 1) * p.get("data", 1)
    return "dgx-h200" if world <= _GPUS_OF_DGX else "dgx-h200-16"


def _launcher(command: LintedCommand) -> str:
    words = {word.rpartition("/")[2] for word in command.launch.around.prefix}
    if command.engine == "trtllm" and words & {"mpirun", "mpiexec"}:
        return "{name: mpirun}"
    if any(
        option.name == "--distributed-executor-backend" and option.value == "ray"
        for option in (command.checked.options if command.checked else ())
    ):
        return "{name: ray}"
    asked = command.launch.around.directives
    time = asked.get("time", "")
    keys = [f'time: "{time if stack_file.slurm_time_is_valid(time) else "24:00:00"}"']
    return f"{{name: slurm, {', '.join(keys)}}}"


def _software(command: LintedCommand) -> str:
    name = f"{command.engine}-{command.release}"
    if "ray" in _launcher(command) and f"{name}-ray" in environments.names():
        name = f"{name}-ray"
    if command.engine == "trtllm":
        return f"  slipway:image: registry.example/tensorrt-llm@sha256:{'0' * 64} # put in yours, by its digest"
    note = "" if name in environments.names() else " # make its folder in infra/environments"
    return f"  slipway:environment: {name}{note}"
