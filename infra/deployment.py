"""What a stack file says, as values: one model served by one engine, through one launcher, on one fleet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hosts.fleet import Fleet
from hosts.problem import Problem
from infra.environments import Environment
from infra.model import Model

Argument = str | int | float | bool | Sequence["Argument"] | Mapping[str, "Argument"]
"""A value of an engine's option; sequences are options that take several words, mappings become JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallelism:
    """Into how many pieces the model is cut, and how often it is there; `expert` puts whole experts on each GPU."""

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    expert: bool = False

    @property
    def world(self) -> int:
        """The number of GPUs."""
        return self.tensor * self.pipeline * self.data


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherConfig:
    """What the launcher asks for; "" or 0 is left to the site. `time` as `sbatch --time` takes it, `gpus` per node."""

    name: str
    partition: str
    time: str
    account: str = ""
    qos: str = ""
    constraint: str = ""
    nodelist: tuple[str, ...] = ()
    mem: str = ""
    cpus: int = 0
    gpus: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One stack. `args` are the engine's options, names without dashes; `env` its variables besides Slipway's own."""

    stack: str
    fleet: Fleet
    model: Model
    engine: str
    release: str
    args: Mapping[str, Argument] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    launcher: LauncherConfig
    parallelism: Parallelism
    environment: str
    software: Environment
    """The files of `environment`."""
    port: int
    default: bool = False
    """Whether `invoke serve` takes this stack where several match."""
    warnings: tuple[Problem, ...] = ()

    @property
    def served_name(self) -> str:
        """The name under which clients ask for the model."""
        given = self.args.get("served-model-name")
        if isinstance(given, str):
            return given
        if isinstance(given, Sequence) and given:
            return str(given[0])
        return self.model.repo
