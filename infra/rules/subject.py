"""What a rule looks at: one engine command, and all that is known of where it would run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from infra.flags.finding import Edit

if TYPE_CHECKING:  # a lint must start fast, and a model brings the reading of YAML
    from infra.model import Model

Held = TypeVar("Held")

SGLANG_NAMES: Mapping[str, str] = {
    "tensor-parallel-size": "tp-size",
    "data-parallel-size": "dp-size",
    "pipeline-parallel-size": "pp-size",
    "expert-parallel-size": "ep-size",
    "attention-data-parallel-size": "attn-dp-size",
    "moe-data-parallel-size": "moe-dp-size",
    "speculative-draft-model": "speculative-draft-model-path",
}
"""SGLang's long names of older releases, and the names by which rules ask."""
TRTLLM_NAMES: Mapping[str, str] = {
    "tensor_parallel_size": "tp_size",
    "pipeline_parallel_size": "pp_size",
    "moe_expert_parallel_size": "ep_size",
    "context_parallel_size": "cp_size",
    "extra_llm_api_options": "config",
}
"""The same for trtllm-serve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallelism:
    """The sizes that a command's options mean, as its engine counts them (a stack's are in infra/deployment.py)."""

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    expert: bool = False

    @property
    def world(self) -> int:
        """The number of GPUs."""
        return self.tensor * self.pipeline * self.data


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One engine command, and what is known of where it would run; None: not known, and no rule guesses.

    `options` holds what was given, by canonical long name without dashes, positional arguments by the parser's name
    ("model"); a value that only the run knows is UNKNOWN (infra.flags.words). `place` is where a problem lies that no
    single option causes; `places` and `tokens` are by option: where it stands, and how it is written.
    """

    engine: str
    release: str
    program: str = ""
    """What a document starts: "vllm serve", "sglang.launch_server"; "" for a stack, and where that does not matter."""
    options: Mapping[str, object] = field(default_factory=dict)
    place: str = "$.engine"
    places: Mapping[str, str] = field(default_factory=dict)
    tokens: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    """Values as they are written, by option."""
    unknown: frozenset[str] = frozenset()
    """Options that the release does not have, as they are written."""
    names: Mapping[str, str] = field(default_factory=dict)
    """The release's own names of options that rules know by another (`normal`)."""
    env: Mapping[str, str] = field(default_factory=dict)
    model: Model | None = None
    draft: Model | None = None
    parallelism: Parallelism | None = None
    nodes: int | None = None
    gpus_per_node: int | None = None
    gpu: str | None = None
    about_others: bool = False
    """Whether the document is about CPUs or other makers' accelerators, of which a node may have any number."""
    gpu_memory_gib: float | None = None
    cpu_flags: frozenset[str] | None = None
    cores: int | None = None
    """Physical cores of one node."""
    numa_nodes: int | None = None
    host_memory_gib: float | None = None
    """RAM that the engine may take: the machine's, or the limit of its pod or job."""
    launcher: str | None = None
    launched_by: tuple[str, ...] = ()
    """Programs that stand before the command, outermost first."""
    processes: int | None = None
    """How many the launcher starts (`mpirun -np`, `srun -n`)."""
    slots: int | None = None
    """How many the hosts of `mpirun -H` take."""
    forwarded: frozenset[str] | None = None
    """Variables that `mpirun -x` carries to other hosts; None where it is not mpirun that starts them."""
    published: bool = False
    """Whether its port is opened to others than its own machine or container (`docker run -p`, a Kubernetes port)."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """What is installed for it, by distribution name: "==0.19.1", "<5.6", "" where nothing is asked of the version."""
    config: Mapping[str, object] | None = None
    """TensorRT-LLM's YAML, parsed."""
    config_place: str = ""
    config_text: str = ""
    """The same as it is written, where that is known: its first line is at `config_place`."""
    ray_started: bool | None = None
    """Whether `ray start` comes before; None: nothing is said of it."""
    commanded: bool = True
    """Whether a person wrote the launch line; False: Slipway renders it, and sets hosts, ports and ranks itself."""

    def given(self, option: str) -> bool:
        """Whether the option stands there and is not switched off."""
        return option in self.options and self.options[option] is not False

    def where(self, *options: str) -> str:
        """The place of the first of these options that was given, else the command's."""
        return next((self.places[name] for name in options if name in self.places), self.place)

    def token(self, option: str) -> str:
        """How the option is written there."""
        return self.tokens.get(option, f"--{self.names.get(option, option)}")

    def number(self, option: str) -> int | None:
        """Its value where that is a whole number that is known."""
        value = self.options.get(option)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def count(self, option: str, default: int) -> int | None:
        """Its value, or the default where it is not given; None where it is not known."""
        return self.number(option) if option in self.options else default

    def real(self, option: str) -> float | None:
        """Its value where that is a number that is known."""
        value = self.options.get(option)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def text(self, option: str) -> str | None:
        """Its value where that is one known word."""
        value = self.options.get(option)
        if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 1:
            value = value[0]
        return value if isinstance(value, str) else None

    def mapping(self, option: str) -> Mapping[str, object] | None:
        """Its value where that is a JSON object."""
        value = self.options.get(option)
        return value if isinstance(value, Mapping) else None

    def edit(self, *drop: str, add: tuple[tuple[str, ...], ...] = ()) -> Edit:
        """An edit that takes out those of these options that were given, and puts words in."""
        return Edit(drop=tuple(f"--{self.names.get(name, name)}" for name in drop if name in self.options), add=add)

    def rewritten(self, option: str, **changes: object) -> Edit | None:
        """An edit that changes keys of a JSON option; None where the run decides about a part of it."""
        now = self.mapping(option)
        try:
            return self.edit(option, add=((f"--{option}", json.dumps({**(now or {}), **changes})),)) if now else None
        except TypeError:
            return None

    @property
    def asked_model(self) -> str | None:
        """The model as the command names it: a repository or a path; None where the run decides."""
        return self.text("model") or self.text("model-path")

    @property
    def written_model(self) -> str:
        """The model as it is written, variables and all."""
        return self.asked_model or self.texts.get("model") or self.texts.get("model-path") or ""

    @property
    def several_nodes(self) -> bool:
        """Whether it is known to span machines."""
        return (self.number("nnodes") or 1) > 1 or (self.nodes or 1) > 1

    @property
    def world(self) -> int | None:
        """The GPUs of all ranks; with DP attention SGLang's data ranks share the tensor ranks."""
        p = self.parallelism
        if p is None:
            return None
        if self.engine in ("sglang", "sglang-kt"):
            shared = self.given("enable-dp-attention") or "attn-dp-size" in self.options
            return p.tensor * p.pipeline * (1 if shared else p.data)
        if self.engine == "vllm":
            contexts = self.count("prefill-context-parallel-size", 1)
            return p.world * contexts if contexts and contexts > 0 else None
        return p.world


def normal(subject: Subject) -> Subject:
    """The subject with each option under the name by which rules ask."""
    others = SGLANG_NAMES if subject.engine.startswith("sglang") else TRTLLM_NAMES if subject.engine == "trtllm" else {}
    if not others.keys() & subject.options.keys():
        return subject

    def renamed(values: Mapping[str, Held]) -> dict[str, Held]:
        return {others.get(name, name): value for name, value in values.items()}

    return replace(
        subject,
        options=renamed(subject.options),
        places=renamed(subject.places),
        tokens=renamed(subject.tokens),
        texts=renamed(subject.texts),
        names={others[name]: name for name in subject.options if name in others},
    )
