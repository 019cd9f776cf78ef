"""SLURM's own tasks as the ranks of an MPI job: one a GPU, wired up by PMIx, bare or in an image by enroot and Pyxis.

The MPI of the environment or image must be built with PMIx, and its PMIx must speak with SLURM's: releases from 3.0 on
are made to; `srun --mpi=list` names SLURM's. A site hands PMIx into containers by enroot's hook `50-slurm-pmi.sh`, and
runs images from a registry that its nodes reach. /dev/shm, memory locks and the fabric's devices are the node's own.
"""

from collections.abc import Iterator, Sequence

from hosts.problem import Problem
from hosts.shell import quote
from infra import artifacts, paths, runtime
from infra.command import Command
from infra.deployment import Deployment
from infra.launchers import gateway
from infra.launchers.process import Process, caches, check_port, clear_way, title
from infra.launchers.process import script as process_script
from infra.placement import Placement
from infra.protocols import Engine
from roles import render

GATEWAY = f"{gateway.NAME}.sh"
"""The script of the gateway in the job's folder."""


def problems(d: Deployment) -> Iterator[Problem]:
    """An image needs Pyxis, which our own clusters lack."""
    if d.image and d.fleet.slurm == "ours":
        yield Problem(
            where="$.image",
            rule="launcher",
            found=f"an image for tasks of SLURM on the fleet {d.fleet.name}, which says `slurm: ours`",
            wanted="slipway:environment, or a site's SLURM (`slurm: existing`)",
            why="srun runs images by Pyxis, which clusters of ours do not have",
            fix="use the launcher mpirun, which runs the image by Podman",
        )


def cpus(d: Deployment, tasks: int) -> int:
    """Of each of a node's tasks, where the stack says how many CPUs it takes of a node; else 0."""
    return max(1, d.launcher.cpus // tasks) if d.launcher.cpus else 0


def srun_options(d: Deployment, place: Placement) -> Iterator[str]:
    """Of the step that is all ranks. Ranks follow each other on a node, so that each finds its GPU by its number."""
    ranks, tasks = len(place.ranks), place.gpus_per_node
    yield from (f"--nodes={place.nodes}", f"--ntasks={ranks}", f"--ntasks-per-node={tasks}", "--distribution=block")
    if d.launcher.cpus:
        yield f"--cpus-per-task={cpus(d, tasks)}"  # since 22.05 a step no longer takes it over from its job
    # each task sees all GPUs of its node: peers map each other's memory, and the engine picks its own
    yield from ("--mpi=pmix", "--gpu-bind=none", "--cpu-bind=none", "--kill-on-bad-exit=1")
    if d.image:
        yield from _pyxis(d)


def _pyxis(d: Deployment) -> Iterator[str]:
    """Storage read-only but for caches, and nothing else of the node's: no home, no entrypoint, no writable root.

    Not as root: PMIx compares the user that a rank says it is with the job's.
    """
    storage, cache = d.fleet.storage.path, paths.cache(d)
    yield f"--container-image={enroot(d.image)}"
    yield f"--container-mounts={storage}:{storage}:ro,{cache}:{cache}"
    yield f"--container-workdir={paths.job_folder(d)}"
    yield from ("--no-container-mount-home", "--no-container-remap-root", "--no-container-entrypoint")
    yield "--container-readonly"


def enroot(image: str) -> str:
    """An image by digest as enroot takes it: `REGISTRY#NAME:sha256:…`; 3.x refuses `@`, 4.x takes both."""
    name, _, digest = image.partition("@")
    first, _, rest = name.partition("/")
    is_registry = bool(rest) and (bool({".", ":"} & set(first)) or first == "localhost")
    path = (rest if is_registry else name).partition(":")[0]  # a tag beside a digest says nothing
    return f"{first}#{path}:{digest}" if is_registry else f"{path}:{digest}"


def by_hand(d: Deployment, place: Placement, engine: Engine) -> str:
    """The line that a person would type on the login host; `d` is without a gateway."""
    job = (f"--partition={d.launcher.partition}", f"--gres=gpu:{place.gpus_per_node}")
    argv = ("srun", *job, *srun_options(d, place), *engine.command(d, place.ranks[0]).argv)
    return Command(argv=argv, env=d.env).line()


def gateway_script(d: Deployment, servers: Sequence[str], mark: str) -> str:
    """What the job runs as the gateway, on its first node: at all of its addresses, since nobody knows them yet."""
    command, before = gateway.process(d, servers)
    process = Process(
        host="",
        name=gateway.NAME,
        what=title(d, "the gateway"),
        command=command,
        before="\n".join((check_port(d.port), before)),
    )
    return process_script(d, process, mark)


def script(
    d: Deployment,
    place: Placement,
    engine: Engine,
    mark: str,
    *,
    options: Sequence[str],
    served: str,
    secrets: Sequence[dict[str, str]],
) -> str:
    """The sbatch script, rendered from `slurm/tasks.sbatch.j2`; `options` are its `#SBATCH` lines."""
    weights = artifacts.weights(d)
    rank = engine.command(d, place.ranks[0])  # the same for every rank
    environment = None if d.image else artifacts.environment(d)
    return render(
        "tasks.sbatch.j2",
        stack=d.stack,
        title=f"{d.stack}: {d.model.name} by {d.engine} {d.release} on {d.fleet.name}",
        engine=d.engine,
        options=options,
        srun=" \\\n    ".join(map(quote, ("srun", *srun_options(d, place)))),
        folder=paths.job_folder(d),
        storage=d.fleet.storage.path,
        environment=environment.prefix if environment else "",
        environment_marker=environment.marker if environment else "",
        python=f"{environment.prefix}/bin/python" if environment else "python3",
        cache=paths.cache(d),
        caches=caches(d),
        model=weights.path,
        weights_record=weights.record,
        served=quote(served),
        gateway=GATEWAY if d.gated else "",
        new_run_folder=paths.new_run_folder(d),
        exports=Command(argv=(), env={**runtime.environment(d, mark), **rank.env}).assignments(),
        secrets=secrets,
        rails=place.nodes > 1 and not d.fleet.stand_in,
        clear_way=clear_way(engine.servers(d, place)[0]),
        rank=rank.lines(),
    )
