"""What launchers share that list processes and leave their life to an owner: a SLURM job, or systemd's units."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from hosts.problem import Problem
from hosts.programs.client import PROOF_FILE
from hosts.resources.endpoint import Endpoint
from hosts.resources.files import Directory, File, SecretFile
from hosts.resources.programs import program
from hosts.state import Resource, Stage, fingerprint
from infra import artifacts, fabric, paths
from infra.deployment import Deployment
from infra.launchers import gateway, job, units
from infra.launchers.process import API_KEY, Process, check_port, mark, script, title
from infra.launchers.slurm import endpoint as on_its_node
from infra.placement import Placement
from infra.protocols import Engine

OPTIONS = (
    "partition", "time", "account", "qos", "constraint", "nodelist", "mem", "cpus", "gpus", "devices", "shm",
)  # fmt: skip
"""What all of them use of `slipway:launcher`: a job's own keys where a job owns the processes, and the GPUs' numbers
where none does."""
PROGRAMS = ("ready", "weights")
"""Programs of ours in every job's folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """The processes, the files, and the fingerprint of each process by its script."""

    processes: tuple[Process, ...]
    files: Mapping[str, str]
    marks: Mapping[str, str]


class Owned(ABC):
    """A launcher whose processes a SLURM job owns on a fleet with SLURM, and systemd elsewhere."""

    built: ClassVar[bool] = True
    programs: ClassVar[tuple[str, ...]] = ()
    """Programs of `hosts/programs` that its processes run, besides those that all need."""
    secrets: ClassVar[tuple[str, ...]] = ()
    """Files of the job's folder with a secret that the hosts make, besides the API key."""

    @abstractmethod
    def processes(self, d: Deployment, place: Placement, engine: Engine) -> tuple[Process, ...]:
        """What runs, in the order in which it is started on each host; what serves is the last on its host."""

    def all_processes(self, d: Deployment, place: Placement, engine: Engine) -> tuple[Process, ...]:
        """Those, and the gateways in front of what serves: the first node's last."""
        listed = self.processes(d, place, engine)
        return (*listed, *_gateways(d, place, engine.servers(d, place))) if d.gated else listed

    def texts(self, d: Deployment, place: Placement, engine: Engine) -> Mapping[str, str]:  # noqa: ARG002
        """The files that the processes read, by name in the job's folder."""
        return engine.files(d)

    def files(self, d: Deployment, place: Placement, engine: Engine) -> Mapping[str, str]:
        """The files that its processes read, their scripts, and what the owner reads."""
        return self._made(d, place, engine, "").files

    def _made(self, d: Deployment, place: Placement, engine: Engine, key: str) -> _Made:
        """All of it; `key` is the digest of the API key."""
        texts = dict(self.texts(d, place, engine))
        if d.gated:
            texts |= gateway.texts(d, engine.servers(d, place))
        listed = self.all_processes(d, place, engine)
        owned = d.by_systemd
        started = {it.script: units.unit(d, it) if owned else "" for it in listed}
        marks = {it.script: mark(d, it, texts, key, started[it.script]) for it in listed}
        files = texts | {it.script: script(d, it, marks[it.script]) for it in listed}
        if owned:
            files |= {f"{it.host}/{units.name(d, it)}": started[it.script] for it in listed}
        else:
            files |= job.files(d, place, listed, files, _address(d, place))
        return _Made(processes=listed, files=files, marks=marks)

    def stages(
        self, d: Deployment, place: Placement, engine: Engine, *, digests: Mapping[str, str]
    ) -> tuple[Stage, ...]:
        """`prepare` writes the job's folder, `launch` starts what is in it, `ready` waits for a token."""
        key = digests.get(API_KEY, "")
        made = self._made(d, place, engine, key)
        login = d.fleet.login.name
        secrets = {API_KEY: key} | dict.fromkeys((*self.secrets, *([PROOF_FILE] if d.gated else [])), "")
        in_folder = (*_folder(d, made.processes, secrets), *self._in_folder(d, made.files))
        endpoint = replace(self.endpoint(d, place, engine), fingerprint=fingerprint(*made.files.values()))
        ready = Stage(name="ready", hosts={login: (endpoint,)}, lock=False)
        if d.by_systemd:
            prepare = Stage(name="prepare", hosts={login: (*in_folder, units.helper(d))})
            started = units.resources(d, made.processes, made.files, made.marks)
            return prepare, Stage(name="launch", hosts=started), ready
        submitted = job.resource(d, made.files)
        accepted = submitted.accepted(made.files[job.SCRIPT])
        return Stage(name="launch", hosts={login: (accepted, *in_folder, submitted)}), ready

    def _in_folder(self, d: Deployment, files: Mapping[str, str]) -> Iterator[Resource]:
        folder, user, group = paths.job_folder(d), paths.run_user(d.fleet), paths.run_group(d.fleet)
        texts = {name: text for name, text in files.items() if not name.endswith(".service")}
        programs = (*PROGRAMS, *([gateway.PROGRAM] if d.gated else []), *self.programs)
        texts |= {f"{name}.py": program(name) for name in programs}
        texts["weights.manifest"] = artifacts.manifest(d)
        for name, text in sorted(texts.items()):
            yield File(path=f"{folder}/{name}", content=text, owner=user, group=group)

    def endpoint(self, d: Deployment, place: Placement, engine: Engine) -> Endpoint:
        """Where the stack answers: on the host of its first rank."""
        listed = self.all_processes(d, place, engine)
        return replace(
            on_its_node(d),
            address=_address(d, place),
            units=tuple(f"{it.host}/{it.name}" for it in listed) if d.by_systemd else (),
            fabric=fabric.expected(d, place.ranks),
        )

    def owner_problems(self, d: Deployment) -> Iterator[Problem]:
        """What every owner needs: storage that all nodes see, and hosts that are ours or SLURM's."""
        if not d.fleet.storage.shared:
            yield Problem(
                where="$.fleet",
                rule="launcher",
                found=f"{d.fleet.name}, whose storage is not shared",
                wanted="storage that all nodes see",
                why="scripts, keys and logs of all nodes lie there",
            )
        if d.launcher.devices and not d.by_systemd:
            yield Problem(
                where="$.launcher.devices",
                rule="launcher",
                found=",".join(map(str, d.launcher.devices)),
                wanted="nothing",
                why="SLURM gives the GPUs out",
                fix="use launcher.gpus",
            )
        if d.image and not d.fleet.containers and d.fleet.slurm != "existing":
            yield Problem(
                where="$.image",
                rule="launcher",
                found=f"an image on the fleet {d.fleet.name}, which runs no containers",
                wanted="`containers: podman` in the fleet's file",
                why="that is what brings Podman and the image to its nodes",
                fix=f"add it to hosts/inventory/{d.fleet.name}.yaml, or use slipway:environment",
            )
        if d.fleet.kubernetes:
            yield Problem(
                where="$.launcher.name",
                rule="launcher",
                found=f"{d.launcher.name} on the fleet {d.fleet.name}, whose nodes are somebody else's",
                wanted="a fleet whose nodes we may log in to",
                fix="use the launcher kubernetes",
            )
        yield from fabric.problems(d)
        if not d.by_systemd:
            yield from job.problems(d)


def _address(d: Deployment, place: Placement) -> str:
    """Where the stack answers: on the host of its first rank, at all its addresses or at one."""
    return d.endpoint.address or d.fleet.host(place.ranks[0].host).address


def _gateways(d: Deployment, place: Placement, servers: tuple[str, ...]) -> Iterator[Process]:
    """Those of other nodes that answer, and the one that clients come to, on the host of the first rank."""
    for peer in gateway.peers(servers):
        host = next(rank.host for rank in place.ranks if str(rank.address) == peer)
        yield _gateway(d, host, servers[:1], peer)
    yield _gateway(d, place.ranks[0].host, servers)


def _gateway(d: Deployment, host: str, servers: tuple[str, ...], peer: str = "") -> Process:
    command, before = gateway.process(d, servers, peer=peer)
    return Process(
        host=host,
        name=gateway.NAME,
        what=title(d, "the gateway"),
        command=command,
        before="\n".join((check_port(d.inner_port if peer else d.port), before)),
        reads=(gateway.conf_name(peer),),
    )


def _folder(d: Deployment, processes: tuple[Process, ...], secrets: Mapping[str, str]) -> Iterator[Resource]:
    """The job's folder, one below it for each host, and files of secrets by the digests of their values."""
    folder, user, group = paths.job_folder(d), paths.run_user(d.fleet), paths.run_group(d.fleet)
    yield Directory(path=folder, mode="0750", owner=user, group=group, purge=True)
    for host in dict.fromkeys(process.host for process in processes):
        yield Directory(path=f"{folder}/{host}", mode="0750", owner=user, group=group, purge=True)
    for name, digest in secrets.items():
        yield SecretFile(path=f"{folder}/{name}", secret=name, digest=digest, mode="0600", owner=user, group=group)
