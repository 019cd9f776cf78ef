"""What a rule looks at: one engine command, and all that is known of where it would run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from infra.deployment import Parallelism
from infra.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One engine command, and what is known of where it would run; None: not known, and no rule guesses.

    `options` holds what was given, by canonical long name without dashes, positional arguments by the parser's name
    ("model"); a value that only the run knows is UNKNOWN (infra.flags.words). `place` is where a problem lies that no
    single option causes; `places` and `tokens` are by option: where it stands, and how it is written.
    """

    engine: str
    release: str
    options: Mapping[str, object] = field(default_factory=dict)
    place: str = "$.engine"
    places: Mapping[str, str] = field(default_factory=dict)
    tokens: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    model: Model | None = None
    draft: Model | None = None
    parallelism: Parallelism | None = None
    nodes: int | None = None
    gpus_per_node: int | None = None
    gpu: str | None = None
    gpu_memory_gib: float | None = None
    cpu_flags: frozenset[str] | None = None
    cores: int | None = None
    """Physical cores of one node."""
    numa_nodes: int | None = None
    host_memory_gib: float | None = None
    launcher: str | None = None
    processes: int | None = None
    """How many the launcher starts (`mpirun -np`, `srun -n`)."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Pinned versions, by distribution name; "" where a package is installed without a pin."""
    config: Mapping[str, object] | None = None
    """TensorRT-LLM's YAML, parsed."""
    config_place: str = ""
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
        return self.tokens.get(option, f"--{option}")

    def number(self, option: str) -> int | None:
        """Its value where that is a whole number that is known."""
        value = self.options.get(option)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

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

    @property
    def world(self) -> int | None:
        """The GPUs of all ranks; with DP attention SGLang's data ranks share the tensor ranks."""
        p = self.parallelism
        if p is None:
            return None
        if self.engine in ("sglang", "sglang-kt"):
            return p.tensor * p.pipeline * (1 if self.given("enable-dp-attention") else p.data)
        return p.world
