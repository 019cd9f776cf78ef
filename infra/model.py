"""A model of the catalogue: where it comes from, its architecture, its bytes, and the manifest of its files."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

from hosts.errors import InputError
from hosts.problem import Problem
from hosts.schema import Kind, Reader, describe, load_yaml, nearest
from infra import precision as precisions
from infra.architecture import MIXERS, MLPS, Architecture
from infra.precision import Precision

__all__ = ["MODELS", "Architecture", "Model", "find", "load", "load_config", "names", "parse"]

MODELS = Path(__file__).parent / "models"
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,62}[a-z0-9])?")
MAX_LAYERS = 1024
REPO = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
MOST_BYTES = 8
REPO_LINE = re.compile(r"^repo: (\S+)$|^  - (\S+/\S+)$", re.MULTILINE)
MANIFEST_LINE = re.compile(r"([0-9a-f]{64}) (0|[1-9][0-9]*) (\S.*)")


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
    family: str = ""
    """`model_type` of its config.json, "" where the file does not say it."""
    also: tuple[str, ...] = ()
    """Other repositories that have the same numbers."""
    precision: Precision | None = None
    """Bytes a parameter by component where they were read from a checkpoint; None: what `quantization` means."""

    @property
    def bytes_by_component(self) -> Precision:
        """Bytes a parameter, by component."""
        return self.precision or precisions.of(self.quantization)


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


def find(name: str, folder: Path = MODELS) -> Model | None:
    """The model of the catalogue that has this name or this repository, in any case of letters; None: none has."""
    wanted = name.lower().rstrip("/")
    if wanted in names(folder):
        return load(wanted, folder)
    return next((load(stem, folder) for stem, repo in _repos(folder) if repo.lower() == wanted), None)


def _repos(folder: Path) -> Iterator[tuple[str, str]]:
    """(name, repository) of each file, without parsing its YAML: a few dozen files would take longer than all else."""
    for stem in names(folder):
        for found in REPO_LINE.finditer((folder / f"{stem}.yaml").read_text(encoding="utf-8")):
            yield stem, found.group(1) or found.group(2)


def load_config(path: Path) -> Model:
    """A model from a Hugging Face config.json (or its folder), and the safetensors beside it where there are some.

    Raises InputError with every problem, each with its `$.path`.
    """
    from infra.ledger.config import load as read  # noqa: PLC0415 - only who asks for one reads those rules

    return read(path)


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
        architecture=_architecture(numbers),
        weights_bytes=top.number("weights_bytes", low=1, high=1 << 60),
        files=_manifest(top),
        source=top.path("source", default=""),
        family=top.word("family", default=""),
        also=_also(top),
        precision=_precision(top),
    )
    if not top.problems and not model.architecture.mla and not model.architecture.head_size:
        numbers.problem(numbers.at("heads"), str(model.architecture.heads), "heads that have a size, or a head_dim")
    numbers.done()
    top.done()
    top.raise_problems(f"the model file {place} can't be used:")
    return model


def _also(top: Reader) -> tuple[str, ...]:
    """The repositories of `also`."""
    given = top.raw("also")
    if given is None:
        return ()
    if not isinstance(given, list) or not all(isinstance(one, str) and REPO.fullmatch(one) for one in given):
        top.problem(top.at("also"), describe(given), "a list of repositories, like moonshotai/Kimi-K2-Base")
        return ()
    return tuple(given)


def _precision(top: Reader) -> Precision | None:
    """What `quantization` means, with the components that `bytes_per_parameter` names in other sizes."""
    given = top.raw("bytes_per_parameter")
    if given is None:
        return None
    known = {field.name for field in fields(Precision)}
    place = top.at("bytes_per_parameter")
    if not isinstance(given, dict):
        top.problem(place, describe(given), "a mapping of components to bytes")
        return None
    sizes: dict[str, float] = {}
    for name, size in given.items():
        if name not in known:
            top.problem(f"{place}.{name}", "an unknown component", f"one of {', '.join(sorted(known))}")
        elif isinstance(size, bool) or not isinstance(size, int | float) or not 0 < size <= MOST_BYTES:
            top.problem(f"{place}.{name}", describe(size), f"a number up to {MOST_BYTES}")
        else:
            sizes[name] = float(size)
    return replace(precisions.of(str(top.data.get("quantization"))), **sizes)


def _architecture(numbers: Reader) -> Architecture:
    """The numbers of the mapping `architecture`; what a kind of model does not have may be left out."""

    def some(key: str) -> int:
        return numbers.number(key, default=0)

    layers = numbers.number("layers", low=1, high=MAX_LAYERS)
    experts = some("experts")
    return Architecture(
        layers=layers,
        dense_layers=some("dense_layers"),
        hidden=numbers.number("hidden", low=1),
        heads=numbers.number("heads", low=1),
        experts=experts,
        shared_experts=some("shared_experts"),
        experts_per_token=some("experts_per_token"),
        dense_intermediate=some("dense_intermediate") if experts else numbers.number("dense_intermediate", low=1),
        expert_intermediate=some("expert_intermediate"),
        q_lora_rank=some("q_lora_rank"),
        kv_lora_rank=some("kv_lora_rank"),
        qk_nope_head_dim=some("qk_nope_head_dim"),
        qk_rope_head_dim=some("qk_rope_head_dim"),
        v_head_dim=some("v_head_dim"),
        vocabulary=numbers.number("vocabulary", low=1),
        context=numbers.number("context", low=1),
        kv_heads=some("kv_heads"),
        head_dim=some("head_dim"),
        tied=numbers.flag("tied", default=False),
        mixers=_pattern(numbers, "mixers", MIXERS, layers),
        mlps=_pattern(numbers, "mlps", MLPS, layers),
        window=some("window"),
        full_kv_heads=some("full_kv_heads"),
        full_head_dim=some("full_head_dim"),
        values_are_keys=numbers.flag("values_are_keys", default=False),
        gated_attention=numbers.flag("gated_attention", default=False),
        mlp_matrices=numbers.number("mlp_matrices", default=3, low=2, high=3),
        shared_intermediate=some("shared_intermediate"),
        expert_hidden=some("expert_hidden"),
        index_heads=some("index_heads"),
        index_head_dim=some("index_head_dim"),
        linear_key_heads=some("linear_key_heads"),
        linear_value_heads=some("linear_value_heads"),
        linear_head_dim=some("linear_head_dim"),
        mamba_heads=some("mamba_heads"),
        mamba_head_dim=some("mamba_head_dim"),
        mamba_groups=some("mamba_groups"),
        mamba_state=some("mamba_state"),
        state_bytes=some("state_bytes"),
        conv_kernel=numbers.number("conv_kernel", default=4, low=1),
        vision_parameters=some("vision_parameters"),
        projector_parameters=some("projector_parameters"),
        vision_sharded=numbers.flag("vision_sharded", default=False),
        rope_positions=some("rope_positions"),
        draft_hidden_layers=some("draft_hidden_layers"),
    )


def _pattern(numbers: Reader, key: str, letters: tuple[str, ...], layers: int) -> str:
    """One letter a layer; a shorter pattern repeats."""
    wanted = f"one letter a layer, of {', '.join(letters)}"
    text = numbers.text(key, default="", kind=Kind(pattern=f"[{''.join(letters)}]{{0,{MAX_LAYERS}}}", wanted=wanted))
    if not text:
        return ""
    if len(text) > layers:
        numbers.problem(numbers.at(key), f"{len(text)} letters", f"at most one for each of {layers} layers")
    return (text * (layers // len(text) + 1))[:layers]


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
