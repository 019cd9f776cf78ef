"""A model of the catalogue: where it comes from, its architecture, its bytes, and the manifest of its files."""

import re
from dataclasses import dataclass
from pathlib import Path

from hosts.errors import InputError
from hosts.problem import Problem
from hosts.schema import Reader, load_yaml, nearest

MODELS = Path(__file__).parent / "models"
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,62}[a-z0-9])?")
MANIFEST_LINE = re.compile(r"([0-9a-f]{64}) (0|[1-9][0-9]*) (\S.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The numbers that parallelism and memory are computed from."""

    layers: int
    dense_layers: int
    hidden: int
    heads: int
    experts: int
    shared_experts: int
    experts_per_token: int
    dense_intermediate: int
    expert_intermediate: int
    q_lora_rank: int
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    vocabulary: int
    context: int
    """Longest sequence in tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model. `revision` is a commit of `repo`, "" where none is pinned; `weights_bytes` its tensors on disk.

    `files` has one `SHA256 SIZE NAME` a file, sorted by name; empty: the folder is held to what is found first.
    `source` is a folder on the hosts to copy from ("": the files must lie at the model's place already).
    """

    name: str
    repo: str
    revision: str = ""
    quantization: str
    architecture: Architecture
    weights_bytes: int
    files: tuple[str, ...] = ()
    source: str = ""


def names(folder: Path = MODELS) -> tuple[str, ...]:
    """The models that have a file."""
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


def load(name: str, folder: Path = MODELS) -> Model:
    """The model of that name. Raises InputError with every problem of its file."""
    path = folder / f"{name}.yaml"
    if not NAME.fullmatch(name) or not path.is_file():
        near = nearest(name, names(folder))
        raise InputError(
            [
                Problem(
                    where="$.model",
                    found=repr(name),
                    wanted=f"a model with a file in infra/models/ ({', '.join(names(folder)) or 'none'})",
                    fix=f"did you mean {near}?" if near else None,
                )
            ]
        )
    return parse(name, load_yaml(path), str(path))


def parse(name: str, data: object, place: str) -> Model:
    """A model from its parsed YAML. Raises InputError with every problem, each with its `$.path`."""
    top = Reader(data, place)
    numbers = top.child("architecture")
    revision = top.text("revision", default="")
    if revision and not re.fullmatch(r"[0-9a-f]{40}", revision):
        top.problem(
            "$.revision", repr(revision), "a commit of 40 hexadecimal digits", why="branches and tags move under a pin"
        )
    model = Model(
        name=name,
        repo=top.word("repo"),
        revision=revision,
        quantization=top.word("quantization"),
        architecture=Architecture(
            layers=numbers.number("layers", low=1),
            dense_layers=numbers.number("dense_layers"),
            hidden=numbers.number("hidden", low=1),
            heads=numbers.number("heads", low=1),
            experts=numbers.number("experts"),
            shared_experts=numbers.number("shared_experts"),
            experts_per_token=numbers.number("experts_per_token"),
            dense_intermediate=numbers.number("dense_intermediate", low=1),
            expert_intermediate=numbers.number("expert_intermediate"),
            q_lora_rank=numbers.number("q_lora_rank"),
            kv_lora_rank=numbers.number("kv_lora_rank"),
            qk_nope_head_dim=numbers.number("qk_nope_head_dim"),
            qk_rope_head_dim=numbers.number("qk_rope_head_dim"),
            v_head_dim=numbers.number("v_head_dim", low=1),
            vocabulary=numbers.number("vocabulary", low=1),
            context=numbers.number("context", low=1),
        ),
        weights_bytes=top.number("weights_bytes", low=1, high=1 << 60),
        files=_manifest(top),
        source=top.path("source", default=""),
    )
    numbers.done()
    top.done()
    top.raise_problems(f"the model file {place} can't be used:")
    return model


def _manifest(top: Reader) -> tuple[str, ...]:
    """The lines of `files`, sorted by name."""
    raw = top.raw("files")
    if raw is None:
        return ()
    if not isinstance(raw, list):
        top.problem("$.files", type(raw).__name__, "a list of `SHA256 SIZE NAME`")
        return ()
    lines: dict[str, str] = {}
    for n, line in enumerate(raw):
        found = MANIFEST_LINE.fullmatch(line) if isinstance(line, str) else None
        name = found.group(3) if found else ""
        if not found or name.startswith("/") or ".." in name.split("/"):
            top.problem(f"$.files[{n}]", repr(line)[:120], "`SHA256 SIZE NAME` with a name inside the folder")
        elif name in lines:
            top.problem(f"$.files[{n}]", name, "each file once")
        else:
            lines[name] = found.group(0)
    return tuple(lines[name] for name in sorted(lines))
