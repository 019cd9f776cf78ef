"""The text of a stack file, from what a launch line says."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from infra import environments
from infra.lint.batch import flow
from infra.lint.result import LintedCommand

_GPUS_OF_DGX = 16


@dataclass(slots=True)
class Adopted:
    """The parts of the file, as they are found."""

    args: dict[str, object] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    config: dict[str, object] = field(default_factory=dict)
    parallelism: dict[str, int | bool] = field(default_factory=dict)
    launcher: dict[str, str | int] = field(default_factory=dict)
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
    yield "#   The fleet is not the command's to say: put in yours."
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
    yield f"  slipway:launcher: {flow(found.launcher)}"
    yield f"  slipway:parallelism: {_flow(found.parallelism or {'tensor': 1})}"
    yield _software(command, found)
    yield f'  slipway:port: "{found.port}"'


def _flow(value: object) -> str:
    """YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=1 << 20, allow_unicode=True, sort_keys=False)
    return text.removesuffix("...\n").strip()


def _fleet(found: Adopted) -> str:
    p = found.parallelism
    world = p.get("tensor", 1) * p.get("pipeline", 1) * p.get("data", 1)
    return "dgx-h200" if world <= _GPUS_OF_DGX else "dgx-h200-16"


def _software(command: LintedCommand, found: Adopted) -> str:
    name = f"{command.engine}-{command.release}"
    if found.launcher["name"] == "ray" and f"{name}-ray" in environments.names():
        name = f"{name}-ray"
    if command.engine == "trtllm":
        return f"  slipway:image: registry.example/tensorrt-llm@sha256:{'0' * 64} # put in yours, by its digest"
    note = "" if name in environments.names() else " # make its folder in infra/environments"
    return f"  slipway:environment: {name}{note}"
