"""What a stack file says, as values: one model served by one engine, through one launcher, on one fleet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from hosts.fleet import Fleet
from hosts.problem import Problem
from infra.environments import Environment
from infra.model import Model

Argument = str | int | float | bool | Sequence["Argument"] | Mapping[str, "Argument"]
"""A value of an engine's option; sequences are options that take several words, mappings become JSON."""
GATED = ("slurm", "systemd", "mpirun", "ray")
"""Launchers that put a gateway in front of an engine: all that start one."""
Guards = Literal["nothing", "some", "all"]
"""Of an engine's paths, those before which it asks for the API key; all of none is all as well."""
LOOPBACK, ANY = "127.0.0.1", "0.0.0.0"  # noqa: S104 - clients are on other machines; the key guards it
NAMING = ("served-model-name", "served_model_name", "model_name")
"""The options by which engines take the name that clients use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallelism:
    """Into how many pieces the model is cut, and how often it is there; `expert` puts whole experts on each GPU.

    `data` counts the replicas of attention. `decode_context` cuts each sequence's KV cache over ranks of a tensor
    group; it takes no GPUs of its own.
    """

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    expert: bool = False
    decode_context: int = 1

    @property
    def world(self) -> int:
        """The number of GPUs."""
        return self.tensor * self.pipeline * self.data


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherConfig:
    """What the launcher asks for; "" or 0 is left to the site. `time` as `sbatch --time` takes it, `gpus` per node.

    `port` is the launcher's own, of its mesh or cluster, and `shm` the size of /dev/shm in a container. `devices` are
    the GPUs taken of each node, by number, where no scheduler gives them out; () are the first ones. `mpi` is how SLURM
    wires up the ranks of an MPI job that it starts itself: "pmix", or "" where it starts none.
    """

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
    port: int = 0
    shm: str = ""
    devices: tuple[int, ...] = ()
    mpi: str = ""

    @property
    def by_tasks(self) -> bool:
        """Whether SLURM itself starts a rank a GPU, each a task of an MPI job; other launchers do not use `mpi`."""
        return self.name == "slurm" and self.mpi == "pmix"


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One part of a deployment of several: on nodes of its own, with options and variables besides the common ones.

    It is there `replicas` times, each an engine of its own over `nodes` nodes.
    """

    name: str
    nodes: int
    parallelism: Parallelism
    replicas: int = 1
    args: Mapping[str, Argument] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """What stands before the roles and answers clients; `args` are its options, names without dashes."""

    name: str
    release: str
    args: Mapping[str, Argument] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """Where clients reach the model; `address` is that of `interface`, "" is all.

    `certificate` and `key` are PEM files of the head's host, "" where it speaks no TLS.
    """

    interface: str = ""
    address: str = ""
    certificate: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One stack. `args` are the engine's options, names without dashes; `env` its variables besides Slipway's own.

    `config` is what the engine reads from a YAML file. `image` is a container image by digest, "" where the engine
    comes from an environment. `draft` proposes tokens to the model; `experts` is a folder beside the models with what
    CPUs compute, "" where that is the model's own. `unnamed` is what the engine calls a model that no option names.
    """

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
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    guards: Guards = "nothing"
    """What the engine itself asks clients for the API key before."""
    config: Mapping[str, Argument] = field(default_factory=dict)
    roles: tuple[Role, ...] = ()
    router: Router | None = None
    role: str = ""
    """Which of several it is, where it is a part of a deployment."""
    image: str = ""
    draft: Model | None = None
    experts: str = ""
    unnamed: str = ""
    default: bool = False
    """Whether `invoke serve` takes this stack where several match."""
    warnings: tuple[Problem, ...] = ()

    @property
    def served_name(self) -> str:
        """The name under which clients ask for the model."""
        given = next((self.args[name] for name in NAMING if name in self.args), None)
        if isinstance(given, str):
            return given
        if isinstance(given, Sequence) and given:
            return str(given[0])
        return self.unnamed or self.model.repo

    @property
    def by_systemd(self) -> bool:
        """Whether systemd owns its processes: there is no SLURM whose GPUs they would take behind its back."""
        return self.fleet.slurm == "none"

    @property
    def gated(self) -> bool:
        """Whether the engine has a gateway in front of it, which requires the key on every path and speaks TLS."""
        return self.launcher.name in GATED and (self.guards != "all" or bool(self.endpoint.certificate))

    @property
    def inner_port(self) -> int:
        """The port of the engine behind a gateway."""
        return self.port + 10000 if self.port + 10000 <= 65535 else self.port - 10000

    @property
    def answers(self) -> tuple[str, int]:
        """The address and port that clients come to, on the head's host; the address may be all of them."""
        return self.endpoint.address or ANY, self.port

    @property
    def listen(self) -> tuple[str, int]:
        """The address and port of the engine's own server, or of its router's: behind a gateway, only that comes."""
        return (LOOPBACK, self.inner_port) if self.gated else self.answers

    @property
    def by_hand(self) -> "Deployment":
        """As a person would start it: without a gateway."""
        return replace(self, guards="all", endpoint=EndpointConfig())

    def url(self, host: str) -> str:
        """The endpoint as others call it; `host` is the head's, where it is bound to all addresses."""
        return f"{'https' if self.endpoint.certificate else 'http'}://{at(self.endpoint.address or host, self.port)}"

    def part(self, role: str) -> "Deployment":
        """One role as a deployment of its own, with its options, variables and parallelism; "" is all of it."""
        if role == self.role:
            return self
        it = next(one for one in self.roles if one.name == role)
        return replace(
            self, role=role, args={**self.args, **it.args}, env={**self.env, **it.env}, parallelism=it.parallelism
        )

    @property
    def parts(self) -> tuple["Deployment", ...]:
        """Each role as a deployment of its own, or the deployment itself where it has none."""
        return tuple(self.part(role.name) for role in self.roles) or (self,)


def at(address: str, port: int) -> str:
    """`ADDRESS:PORT`, an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
