"""An engine's process in a Podman container of the deployment's image, as a command."""

from infra import paths, runtime
from infra.command import Command, Word
from infra.deployment import Deployment
from infra.placement import Rank


def name(d: Deployment, rank: Rank) -> str:
    """The container's name, by stack, role and rank."""
    return "-".join(filter(None, ("slipway", d.stack, rank.role, str(rank.index))))


def run(d: Deployment, rank: Rank, command: Command, *, gpus: int, mark: str = "") -> Command:
    """`podman run` of a command: its variables, the node's first `gpus` GPUs, storage read-only but for caches."""
    argv: list[Word] = ["podman", "run", "--rm", "--name", name(d, rank), "--label", f"slipway={d.stack}"]
    argv += ["--network", "host", "--shm-size", d.launcher.shm.lower().removesuffix("i") or "64g"]
    argv += ["--cap-add", "IPC_LOCK", "--ulimit", "memlock=-1:-1", "--ulimit", "stack=67108864:67108864"]
    for gpu in range(gpus):
        argv += ["--device", f"nvidia.com/gpu={gpu}"]
    if rank.nodes > 1:
        argv += ["--device", "/dev/infiniband"]
    storage = d.fleet.storage.path
    written = (paths.cache(d), *((paths.outputs(d),) if any(role.name == "trainer" for role in d.roles) else ()))
    argv += ["--volume", f"{storage}:{storage}:ro"]
    for folder in written:
        argv += ["--volume", f"{folder}:{folder}"]
    env = {**runtime.environment(d, mark), **command.env}
    for variable in sorted((*env, *command.secrets)):
        argv += ["--env", variable]  # values come from the script's own environment, so that none stands in an argv
    return Command(argv=(*argv, d.image, *command.argv), env=command.env, secrets=command.secrets)
