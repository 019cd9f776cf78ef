"""SLURM: one sbatch script on the login host, submitted once; the job owns its processes' life."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from hosts.problem import Problem
from hosts.programs.client import PROOF_FILE
from hosts.resources.endpoint import Endpoint
from hosts.resources.files import Directory, File, SecretFile
from hosts.resources.programs import program
from hosts.resources.slurm_job import SlurmJob
from hosts.shell import quote
from hosts.state import Resource, Stage, fingerprint
from infra import artifacts, fabric, paths, runtime
from infra.command import Command, Var
from infra.deployment import Deployment
from infra.launchers import gateway, tasks
from infra.launchers.process import clear_way
from infra.placement import ADDRESS, HEAD, Placement
from infra.placement import place as placed
from infra.protocols import Engine, Rendezvous
from infra.sizes import slurm_gib
from roles import render
from roles.slurm import COMPLETIONS

API_KEY = "api-key"


class Slurm:
    """The launcher `slurm`."""

    name: ClassVar[str] = "slurm"
    offers: ClassVar[frozenset[Rendezvous]] = frozenset({"single", "tcp", "mpi"})
    options: ClassVar[tuple[str, ...]] = (
        "partition", "time", "account", "qos", "constraint", "nodelist", "mem", "cpus", "gpus", "mpi",
    )  # fmt: skip
    built: ClassVar[bool] = True

    def problems(self, d: Deployment) -> Iterator[Problem]:
        """It needs a SLURM, its partition, and storage that the login host and the nodes share."""
        if d.fleet.slurm == "none":
            yield Problem(
                where="$.launcher.name",
                rule="launcher",
                found=f"slurm on the fleet {d.fleet.name}, which says `slurm: none`",
                wanted="a fleet with SLURM",
                fix="set `slurm: ours` or `slurm: existing` in its file",
            )
        yield from partition_problems(d)
        if not d.fleet.storage.shared:
            yield Problem(
                where="$.fleet",
                rule="launcher",
                found=f"{d.fleet.name}, whose storage is not shared",
                wanted="storage that the login host and all nodes see",
                why="the job's script, log and key lie there, and SLURM chooses the node",
            )
        if d.roles:
            yield Problem(
                where="$.launcher.name",
                rule="launcher",
                found=f"slurm with the roles {', '.join(role.name for role in d.roles)}",
                wanted="a launcher that starts several roles (systemd)",
                why="its job is one engine on all its nodes",
            )
        if d.launcher.by_tasks:
            yield from tasks.problems(d)
        elif d.image:
            yield Problem(
                where="$.image",
                rule="launcher",
                found="an image",
                wanted="slipway:environment",
                why="its job runs the engine from an environment on storage, unless its ranks are those of an MPI job",
                fix="use the launcher mpirun or systemd for an image",
            )
        yield from fabric.problems(d)
        yield from gateway.problems(d, {})
        yield from limit_problems(d)

    def commands(self, d: Deployment, place: Placement, engine: Engine) -> tuple[Command, ...]:
        """The engine's own, each."""
        return tuple(engine.command(d, rank) for rank in place.ranks)

    def by_hand(self, d: Deployment, place: Placement, engine: Engine) -> tuple[tuple[str, str], ...]:
        """Each rank's line on its node, or one for all where SLURM starts them as tasks."""
        d = d.by_hand
        if d.launcher.by_tasks:
            return ((d.fleet.login.name, tasks.by_hand(d, place, engine)),)
        lines = (Command(argv=command.argv, env=d.env).line() for command in self.commands(d, place, engine))
        return tuple((rank.host or f"node {rank.index}", line) for rank, line in zip(place.ranks, lines, strict=True))

    def files(self, d: Deployment, place: Placement, engine: Engine) -> Mapping[str, str]:
        """The files that the job reads, and its script."""
        return self._made(d, place, engine, self._mark(d, place, engine, ""))

    def endpoint(self, d: Deployment, place: Placement, engine: Engine) -> Endpoint:  # noqa: ARG002
        """On the job's own node."""
        return replace(endpoint(d), fabric=fabric.expected(d, place.ranks))

    def _mark(self, d: Deployment, place: Placement, engine: Engine, key: str) -> str:
        """The fingerprint of what the job is started from."""
        made = self._made(d, place, engine, "").values()
        return fingerprint(*made, artifacts.manifest(d), d.image or d.software.digest, key)

    def _made(self, d: Deployment, place: Placement, engine: Engine, mark: str) -> dict[str, str]:
        """The texts of the job's folder that tell one deployment from another."""
        made = dict(engine.files(d))
        if d.gated:
            servers = engine.servers(d, place)
            made |= {**gateway.texts(d, servers), tasks.GATEWAY: tasks.gateway_script(d, servers, mark)}
        return {**made, "job.sbatch": script(d, place, engine, mark)}

    def stages(
        self, d: Deployment, place: Placement, engine: Engine, *, digests: Mapping[str, str]
    ) -> tuple[Stage, ...]:
        """`launch` puts the job's files in its folder and submits, `ready` waits for a token; on the login host."""
        folder, user = paths.job_folder(d), paths.service_user(d.fleet)
        key = digests.get(API_KEY, "")
        manifest = artifacts.manifest(d)
        mark = self._mark(d, place, engine, key)
        made = self._made(d, place, engine, mark)
        job = SlurmJob(
            stack=d.stack,
            folder=folder,
            fingerprint=mark,
            user=user,
            completions=COMPLETIONS if d.fleet.slurm == "ours" else "",
        )
        launch: tuple[Resource, ...] = (
            job.accepted(made["job.sbatch"]),
            Directory(path=folder, mode="0750", owner=user, group=user, purge=True),
            SecretFile(path=paths.api_key(d), secret=API_KEY, digest=key, mode="0600", owner=user, group=user),
            *(
                (
                    SecretFile(path=f"{folder}/{PROOF_FILE}", secret=PROOF_FILE, owner=user, group=user),
                    File(
                        path=f"{folder}/{gateway.PROGRAM}.py", content=program(gateway.PROGRAM), owner=user, group=user
                    ),
                )
                if d.gated
                else ()
            ),
            File(path=f"{folder}/ready.py", content=program("ready"), owner=user, group=user),
            File(path=f"{folder}/weights.py", content=program("weights"), owner=user, group=user),
            File(path=f"{folder}/weights.manifest", content=manifest, owner=user, group=user),
            *(File(path=f"{folder}/{name}", content=text, owner=user, group=user) for name, text in made.items()),
            job,
        )
        login, ready = d.fleet.login.name, replace(self.endpoint(d, place, engine), fingerprint=mark)
        return Stage(name="launch", hosts={login: launch}), Stage(name="ready", hosts={login: (ready,)}, lock=False)


def endpoint(d: Deployment) -> Endpoint:
    """Where the job answers: on its own node, whichever that is, unless the stack file names an address."""
    return Endpoint(
        stack=d.stack,
        folder=paths.job_folder(d),
        port=str(d.port),
        model=d.served_name,
        api_key_file=paths.api_key(d),
        user=paths.service_user(d.fleet),
        address=d.endpoint.address,
        certificate=gateway.pinned(d) if d.endpoint.certificate else "",
    )


def script(d: Deployment, place: Placement, engine: Engine, mark: str) -> str:
    """The sbatch script, rendered from `slurm/serve.sbatch.j2`; the same deployment gives the same bytes."""
    if d.launcher.by_tasks:
        return tasks.script(
            d,
            place,
            engine,
            mark,
            options=tuple(
                options(d, nodes=place.nodes, gpus=place.gpus_per_node, nodelist=d.launcher.nodelist, by_tasks=True)
            ),
            served=endpoint(d).served,
            secrets=tuple(_secrets(d, engine.command(d, place.ranks[0]))),
        )
    environment, weights = artifacts.environment(d), artifacts.weights(d)
    in_job = replace(place.ranks[0], head=HEAD, address=ADDRESS)
    head = engine.command(d, in_job)
    follower = engine.command(d, replace(in_job, index=Var("SLURM_NODEID")))
    return render(
        "serve.sbatch.j2",
        stack=d.stack,
        title=f"{d.stack}: {d.model.name} by {d.engine} {d.release} on {d.fleet.name}",
        engine=d.engine,
        options=tuple(options(d, nodes=len(place.ranks), gpus=place.gpus_per_node, nodelist=d.launcher.nodelist)),
        srun_options=" ".join(srun_options(d, len(place.ranks))),
        exports=Command(argv=(), env={**runtime.environment(d, mark), "SLURM_EXPORT_ENV": "ALL"}).assignments(),
        folder=paths.job_folder(d),
        storage=d.fleet.storage.path,
        environment=environment.prefix,
        environment_marker=environment.marker,
        cache=paths.cache(d),
        cache_folders=" ".join(f"{paths.cache(d)}/{name}" for name in ("hf", "home", "inductor", "triton", "xdg")),
        model=weights.path,
        weights_record=weights.record,
        clear_way=clear_way(engine.servers(d, place)[0]),
        gateway=tasks.GATEWAY if d.gated else "",
        served=quote(endpoint(d).served),
        new_run_folder=paths.new_run_folder(d),
        nodes=len(place.ranks),
        variables=head.assignments(),
        secrets=tuple(_secrets(d, head)),
        head=head.lines(),
        follower=follower.lines("      "),
    )


def options(d: Deployment, *, nodes: int, gpus: int, nodelist: Sequence[str], by_tasks: bool = False) -> Iterator[str]:
    """The `#SBATCH` lines of a job with so many GPUs a node, and a task on each node, or a task a GPU.

    Name and comment stand on sbatch's command line, where the tag is made."""
    config, each = d.launcher, gpus if by_tasks else 1
    given = {
        "partition": config.partition,
        "account": config.account,
        "qos": config.qos,
        "constraint": config.constraint,
        "nodelist": ",".join(nodelist),
        "time": config.time,
        "nodes": str(nodes),
        "ntasks-per-node": str(each),
        "cpus-per-task": str(tasks.cpus(d, each) or ""),
        "gres": f"gpu:{gpus}",
        "mem": config.mem,
        "output": f"{paths.job_folder(d)}/job-%j.out",
        "open-mode": "append",
        "chdir": paths.job_folder(d),
    }
    yield from (f"--{name}={value}" for name, value in given.items() if value)
    yield "--no-requeue"


def srun_options(d: Deployment, nodes: int) -> Iterator[str]:
    """Of the step that is on all nodes, once each."""
    yield from (f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1")
    if d.launcher.cpus:
        yield f"--cpus-per-task={d.launcher.cpus}"  # since 22.05 a step no longer takes it over from its job
    # no PMI: the engine's processes find each other themselves; no binding: it pins its own threads
    yield from ("--mpi=none", "--cpu-bind=none", "--kill-on-bad-exit=1")


def _secrets(d: Deployment, command: Command) -> Iterator[dict[str, str]]:
    """The variables whose value the job reads from a file."""
    files = {API_KEY: paths.api_key(d)}
    yield from ({"variable": variable, "file": files[name]} for variable, name in sorted(command.secrets.items()))


def partition_problems(d: Deployment) -> Iterator[Problem]:
    """A cluster of ours has one partition."""
    if d.fleet.slurm == "ours" and d.launcher.partition != d.fleet.partition:
        yield Problem(
            where="$.launcher.partition",
            rule="launcher",
            found=d.launcher.partition,
            wanted=f"{d.fleet.partition}, the partition of the fleet {d.fleet.name}",
        )


def limit_problems(d: Deployment) -> Iterator[Problem]:
    """What the queue would never start: more than its partition, QOS or account gives, as the fleet's file has it."""
    limits, nodes = d.fleet.limits, placed(d)
    if limits is None:
        return
    asked = (
        ("time", "minutes", minutes(d.launcher.time), minutes(limits.max_time)),
        ("gpus", "GPUs", nodes.gpus, limits.gpus),
        ("cpus", "CPUs", d.launcher.cpus * nodes.nodes, limits.cpus),
        ("mem", "MiB", int(slurm_gib(d.launcher.mem) * 1024) * nodes.nodes, limits.memory_mib),
    )
    for key, unit, wanted, given in asked:
        if given and wanted > given:
            yield Problem(
                where=f"$.launcher.{key}",
                rule="limits",
                found=f"{wanted} {unit}",
                wanted=f"at most {given}, what the queue gives",
                why="the job would wait for ever (PartitionTimeLimit, QOSMaxGRESPerUser, AssocGrpCpuLimit)",
                source=f"hosts/inventory/{d.fleet.name}.yaml",
            )


def minutes(time: str) -> int:
    """A time as SLURM takes it, in whole minutes; 0 for none."""
    days, dash, rest = time.rpartition("-")
    parts = [int(part) for part in rest.split(":") if part]
    if not parts:
        return 0
    if dash:
        hours, minute = parts[0], parts[1] if len(parts) > 1 else 0
    elif len(parts) == 3:
        hours, minute = parts[0], parts[1]
    else:
        hours, minute = 0, parts[0]
    return int(days or 0) * 1440 + hours * 60 + minute
