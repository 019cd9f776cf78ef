"""A fleet as declared in `hosts/inventory/<fleet>.yaml`: hosts, how to reach them, their GPUs, SLURM and storage.

Declared, never discovered: `invoke enroll` writes the file, a person reviews it, and everything else reads it.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import yaml

from hosts.errors import InputError
from hosts.problem import Problem
from hosts.schema import Kind, Reader, describe, load_yaml

INVENTORY = Path(__file__).parent / "inventory"
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?")
NAME_WANTED = "a name of small letters, digits and dashes between them, as kimi-prod or dgx01"
"""What NAME is, in words: of hosts, fleets and stacks."""
HCA = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
"""An RDMA device's name, as the kernel has it below /sys/class/infiniband."""

HOST_NAME = Kind(pattern=NAME.pattern, wanted=f"for each host {NAME_WANTED}")
HOST_KEY = Kind(
    pattern=r"(ssh|ecdsa)-[a-z0-9-]+ [A-Za-z0-9+/=]+( .*)?",
    wanted="a whole public key, ssh-ed25519 AAAA…, as the machine's /etc/ssh/ssh_host_ed25519_key.pub has it",
)
MAX_TIME = Kind(
    pattern=r"[0-9:-]{1,16}", wanted='a time as SLURM prints it, in quotes: "7-00:00:00" is a week, "12:00:00" 12 hours'
)
NAMESPACE = Kind(
    pattern=r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
    wanted="the name of a namespace: small letters, digits and dashes between them",
)
VOLUME = Kind(
    pattern=r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?",
    wanted="the name of a PersistentVolumeClaim: small letters, digits, dots and dashes",
)

SlurmMode = Literal["ours", "existing", "none"]
ContainerTool = Literal["", "podman"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """The GPUs of one host: `count` device files `<device>0 …`, each of `memory_mib` as nvidia-smi prints it."""

    count: int
    model: str
    memory_mib: int
    device: str = "/dev/nvidia"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One machine: where it is, who we are there, what it has. `jump` names another host of the fleet.

    `cpus` are hardware threads, as `nproc` counts them; `sockets` and `threads_per_core` (0: not declared) are lscpu's.
    """

    name: str
    address: str
    port: int = 22
    user: str
    sudo: bool = True
    jump: str = ""
    host_key: str = ""
    role: Literal["login", "node"] = "node"
    cpus: int = 0
    sockets: int = 0
    threads_per_core: int = 0
    memory_mib: int = 0
    interface: str = ""
    gpus: Gpus | None = None
    hcas: tuple[str, ...] = ()
    """The adapters of its compute rails (`mlx5_0`), without those that lead to storage; () where nobody named them."""
    cores: int = 0
    """Physical cores, 0 where nobody named them."""
    numa_nodes: int = 0
    cpu_flags: tuple[str, ...] = ()
    """As /proc/cpuinfo has them, those that engines ask for; () where nobody named them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Where environments, weights, logs and claims live; `shared` says that all hosts see the same folder."""

    path: str
    shared: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The least of what a queue's partition, QOS and account give a job; "" and 0 are no limit."""

    max_time: str = ""
    gpus: int = 0
    cpus: int = 0
    memory_mib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What a namespace may take; 0 is no limit."""

    memory_mib: int = 0
    cpus: int = 0
    gpus: int = 0
    storage_gib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A namespace of a Kubernetes cluster: its quota, the claim of its volume, and the labels of nodes to run on."""

    namespace: str
    quota: Quota
    volume: str
    node_selector: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Machines that belong together. `price_per_gpu_hour` is text in the fleet's currency, "" where nobody named it."""

    name: str
    hosts: tuple[Host, ...]
    slurm: SlurmMode
    storage: Storage
    partition: str = "gpu"
    known_hosts: str = ""
    identity: str = ""
    stand_in: bool = False
    """The GPUs are stand-ins and nothing here is a real DGX: driver checks are not asked for."""
    price_per_gpu_hour: str = ""
    wheels: str = ""
    containers: ContainerTool = ""
    """What runs containers on the nodes, without root; "" where nothing does."""
    images: str = ""
    """A folder on the hosts with archives of images, `<digest>.tar`; "" where images come from their registries."""
    limits: Limits | None = None
    kubernetes: Namespace | None = None

    def host(self, name: str) -> Host:
        """The host of that name. Raises KeyError."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(f"fleet {self.name} has no host {name!r}")

    @property
    def login(self) -> Host:
        """The login host, where jobs are submitted; on a cluster of ours also the SLURM controller.

        Without SLURM there may be none; then it is the first host.
        """
        return next((host for host in self.hosts if host.role == "login"), self.hosts[0])

    @property
    def nodes(self) -> tuple[Host, ...]:
        """The hosts that carry GPUs."""
        return tuple(host for host in self.hosts if host.role == "node")

    @property
    def managed(self) -> tuple[Host, ...]:
        """The hosts that we may log in to: all, or the login host alone where the cluster is somebody else's."""
        return (self.login,) if self.slurm == "existing" or self.kubernetes else self.hosts


def names(folder: Path = INVENTORY) -> tuple[str, ...]:
    """The fleets that have a file."""
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


def load(name: str, folder: Path = INVENTORY) -> Fleet:
    """The fleet of that name. Raises InputError with every problem of its file."""
    if not NAME.fullmatch(name) or not (folder / f"{name}.yaml").is_file():
        known = ", ".join(names(folder)) or "none"
        raise InputError(
            [
                Problem(
                    where="$.fleet",
                    found=repr(name),
                    wanted=f"a fleet with a file in hosts/{folder.name}/ ({known})",
                    fix=f"run: invoke enroll --fleet {name} HOST…" if NAME.fullmatch(name) else None,
                )
            ]
        )
    path = folder / f"{name}.yaml"
    return parse(name, load_yaml(path), str(path))


def parse(name: str, data: object, place: str) -> Fleet:
    """A fleet from its parsed YAML. Raises InputError with every problem, each with its `$.path`."""
    top = Reader(data, place)
    slurm = cast(SlurmMode, top.choice("slurm", ("ours", "existing", "none")))
    # somebody else's site is worked on as the user that one is there
    hosts = tuple(_host(n, reader, sudo=slurm != "existing") for n, reader in top.mapping("hosts", names=HOST_NAME))
    storage = top.child("storage")
    fleet = Fleet(
        name=name,
        hosts=hosts,
        slurm=slurm,
        storage=Storage(path=storage.path("path"), shared=storage.flag("shared", default=True)),
        partition=top.word("partition", default="gpu"),
        known_hosts=top.text("known_hosts", default=""),
        identity=top.text("identity", default=""),
        stand_in=top.flag("stand_in", default=False),
        price_per_gpu_hour=top.decimal("price_per_gpu_hour", default=""),
        wheels=top.path("wheels", default=""),
        containers=cast(ContainerTool, top.choice("containers", ("podman",), default="")),
        images=top.path("images", default=""),
        limits=_limits(top.child("limits")) if top.has("limits") else None,
        kubernetes=_namespace(top.child("kubernetes")) if top.has("kubernetes") else None,
    )
    for optional in ("limits", "kubernetes"):
        top.raw(optional)
    storage.done()
    top.done()
    _cross_check(fleet, top)
    top.raise_problems(f"the fleet file {place} can't be used:")
    return fleet


def _limits(reader: Reader) -> Limits:
    limits = Limits(
        max_time=reader.text("max_time", default="", kind=MAX_TIME),
        gpus=reader.number("gpus", default=0, low=1, high=1 << 20),
        cpus=reader.number("cpus", default=0, low=1, high=1 << 24),
        memory_mib=reader.number("memory_mib", default=0, low=1),
    )
    reader.done()
    return limits


def _namespace(reader: Reader) -> Namespace:
    quota = reader.child("quota") if reader.has("quota") else Reader({}, reader.file)
    reader.raw("quota")
    labels = reader.raw("node_selector")
    given = labels if isinstance(labels, dict) else {}
    if labels is not None and not (given and all(isinstance(word, str) for pair in given.items() for word in pair)):
        reader.problem(reader.at("node_selector"), describe(labels), "a mapping of labels, text to text")
    found = Namespace(
        namespace=reader.text("namespace", kind=NAMESPACE),
        quota=Quota(
            memory_mib=quota.number("memory_mib", default=0, low=1),
            cpus=quota.number("cpus", default=0, low=1, high=1 << 24),
            gpus=quota.number("gpus", default=0, low=1, high=1 << 20),
            storage_gib=quota.number("storage_gib", default=0, low=1),
        ),
        volume=reader.text("volume", kind=VOLUME),
        node_selector=tuple((str(name), str(value)) for name, value in given.items()),
    )
    quota.done()
    reader.done()
    return found


def _words(reader: Reader, key: str) -> tuple[str, ...]:
    """A list of words, () where there is none."""
    raw = reader.raw(key)
    if raw is None:
        return ()
    if not isinstance(raw, list) or not all(
        isinstance(word, str) and re.fullmatch(r"[a-z0-9_]+", word) for word in raw
    ):
        reader.problem(reader.at(key), describe(raw), "a list of words like avx512f")
        return ()
    return tuple(raw)


def _hcas(reader: Reader) -> tuple[str, ...]:
    """The names of the HCAs in their order, () where there are none."""
    raw = reader.raw("hcas")
    if raw is None:
        return ()
    if not isinstance(raw, list) or not all(isinstance(word, str) and HCA.fullmatch(word) for word in raw):
        wanted = "a list of names like mlx5_0, as /sys/class/infiniband has them"
        reader.problem(reader.at("hcas"), describe(raw), wanted)
        return ()
    twice = sorted({word for word in raw if raw.count(word) > 1})
    if twice:
        reader.problem(reader.at("hcas"), f"{', '.join(twice)} twice", "each once")
    return tuple(raw)


def _host(name: str, reader: Reader, *, sudo: bool) -> Host:
    gpus = reader.child("gpus") if reader.has("gpus") else None
    host = Host(
        name=name,
        address=reader.word("address"),
        port=reader.number("port", default=22, low=1, high=65535),
        user=reader.word("user"),
        sudo=reader.flag("sudo", default=sudo),
        jump=reader.word("jump", default=""),
        host_key=reader.text("host_key", default="", kind=HOST_KEY),
        role=cast(Literal["login", "node"], reader.choice("role", ("login", "node"), default="node")),
        cpus=reader.number("cpus", default=0, high=100_000),
        sockets=reader.number("sockets", default=0, high=1024),
        threads_per_core=reader.number("threads_per_core", default=0, high=64),
        memory_mib=reader.number("memory_mib", default=0, high=1 << 30),
        interface=reader.word("interface", default=""),
        gpus=None
        if gpus is None
        else Gpus(
            count=gpus.number("count", low=1, high=64),
            model=gpus.text("model"),
            memory_mib=gpus.number("memory_mib", low=1024, high=1 << 24),
            device=gpus.path("device", default="/dev/nvidia"),
        ),
        hcas=_hcas(reader),
        cores=reader.number("cores", default=0, low=1, high=100_000),
        numa_nodes=reader.number("numa_nodes", default=0, low=1, high=1024),
        cpu_flags=_words(reader, "cpu_flags"),
    )
    if host.host_key and not _is_public_key(host.host_key):
        reader.problem(reader.at("host_key"), describe(host.host_key), HOST_KEY.wanted)
    if gpus is not None:
        gpus.done()
    reader.done()
    return host


def _is_public_key(text: str) -> bool:
    """Whether `ALGORITHM BASE64` is one: fields after their lengths, the first of them ALGORITHM (RFC 4253, 6.6)."""
    algorithm, encoded, *_ = text.split(" ")
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError:
        return False
    fields = []
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        if len(data) < end:
            return False
        fields.append(data[4:end])
        data = data[end:]
    return len(fields) > 1 and fields[0] == algorithm.encode()


def _cross_check(fleet: Fleet, top: Reader) -> None:
    logins = [host.name for host in fleet.hosts if host.role == "login"]
    if len(logins) != 1 and fleet.slurm != "none":
        top.problem("$.hosts", f"{len(logins)} hosts of role login", "exactly one", why="jobs are submitted there")
    if fleet.slurm == "existing" and logins and fleet.login.sudo:
        why = "jobs would be submitted as root, and the site's rules and bills are about you"
        top.problem(f"$.hosts.{fleet.login.name}.sudo", "true", "false where SLURM is somebody else's", why=why)
    if fleet.slurm == "ours" and not fleet.nodes:
        top.problem("$.hosts", "no host of role node", "at least one", why="a partition has nodes")
    by_name: Mapping[str, Host] = {host.name: host for host in fleet.hosts}
    seen: dict[tuple[str, int], str] = {}
    for host in fleet.hosts:
        place = f"$.hosts.{host.name}"
        if host.jump and (host.jump not in by_name or host.jump == host.name):
            top.problem(f"{place}.jump", repr(host.jump), f"another host of the fleet ({', '.join(by_name)})")
        elif host.jump and by_name[host.jump].jump:
            wanted = f"a host that is reached directly; {host.jump} is behind {by_name[host.jump].jump}"
            top.problem(f"{place}.jump", repr(host.jump), wanted)
        other = seen.setdefault((host.address, host.port), host.name)
        if other != host.name:
            top.problem(f"{place}.address", host.address, f"an address of its own; {other} has this one")
        if host.role == "node" and fleet.slurm == "ours":
            _check_node_size(place, host, top)


def _check_node_size(place: str, host: Host, top: Reader) -> None:
    """SLURM takes what is not declared for one CPU and 1 MiB: no job would ever start, and nothing would say why."""
    if host.gpus is None:
        wanted = "count, model and memory_mib of its GPUs"
        top.problem(f"{place}.gpus", "nothing", wanted, why="SLURM's GRES is made from it")
    sizes = (("cpus", host.cpus, "`nproc`"), ("memory_mib", host.memory_mib, "`free -m`, a little less"))
    for name, value, how in sizes:
        if not value:
            top.problem(f"{place}.{name}", "nothing", f"what the machine has ({how})", why="slurm.conf is made from it")
    if bool(host.sockets) != bool(host.threads_per_core):
        found = "one of sockets and threads_per_core"
        top.problem(place, found, "both or none of them", why="cores are counted from both")
    elif host.sockets and host.cpus % (host.sockets * host.threads_per_core):
        wanted = f"a multiple of {host.sockets} sockets x {host.threads_per_core} threads a core"
        top.problem(f"{place}.cpus", str(host.cpus), wanted)


def dump(fleet_data: Mapping[str, object]) -> str:
    """The YAML text of a fleet file, keys in the given order."""
    return yaml.safe_dump(dict(fleet_data), sort_keys=False, width=120)
