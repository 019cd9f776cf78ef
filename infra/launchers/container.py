"""An engine's process in a rootless Podman container of the deployment's image, as a command."""

from dataclasses import replace
from math import ceil

from hosts.fleet import Gpus
from hosts.shell import quote
from infra import paths, runtime
from infra.command import Command, Var, Word
from infra.deployment import Deployment
from infra.ledger.host import shm_gib
from infra.placement import Placement

PODMAN = ("env", "-u", "TMPDIR", "podman", "--cgroup-manager", "cgroupfs")
"""A process's own temporary folder is no place for Podman's: it goes with the process."""
RUNTIME = """export XDG_RUNTIME_DIR=/tmp/podman-run-$(id -u)
mkdir -p -m 0700 -- "$XDG_RUNTIME_DIR"
[ -O "$XDG_RUNTIME_DIR" ] && [ ! -L "$XDG_RUNTIME_DIR" ] ||
  { echo "slipway: error: $XDG_RUNTIME_DIR on $(hostname) is another user's"; exit 1; }
SLIPWAY_MOUNT=$SLIPWAY_RUN:$SLIPWAY_RUN
cd /"""
"""Shell before Podman, which makes its runtime folder at random places where it is told none; and it must read where it
stands."""
MOUNT = Var("SLIPWAY_MOUNT")
"""The volume of the run's folder, at its own path."""
GIVEN = Var("SLIPWAY_GPU_DEVICES", words=True)
"""The options for the GPUs that SLURM gave a job's step; its supervisor sets it."""


def name(d: Deployment, process: str) -> str:
    """The name of a process's container."""
    return f"slipway-{d.stack}.{process}"


def device(d: Deployment, gpus: Gpus) -> str:
    """What `--device` takes before a GPU's number: a name of NVIDIA's CDI file, or a stand-in's device file."""
    return gpus.device if d.fleet.stand_in else "nvidia.com/gpu="


def run(d: Deployment, place: Placement, process: str, command: Command) -> Command:
    """`podman run` of a command: the network of the host, storage read-only but for caches, all of the node's GPUs.

    Its processes stay in the control group of the unit or job (`--cgroups=disabled`), and end with it.
    """
    argv: list[Word] = [*PODMAN, "run", "--rm", "--replace", "--pull", "never", "--name", name(d, process)]
    argv += ["--label", f"slipway={d.stack}", "--log-driver", "none"]
    argv += ["--cgroups=disabled", "--network", "host", "--ulimit", "host", "--cap-add", "IPC_LOCK"]
    shm = d.launcher.shm or f"{ceil(shm_gib(place.gpus_per_node))}g"
    argv += ["--shm-size", shm.lower().removesuffix("i")]
    if d.by_systemd:
        gpus = d.fleet.host(place.ranks[0].host).gpus
        assert gpus is not None
        taken = sorted({gpu for rank in place.ranks for gpu in rank.gpus})
        for gpu in taken:
            argv += ["--device", f"{device(d, gpus)}{gpu}"]
    else:
        argv += [GIVEN]
    if place.nodes > 1 and not d.fleet.stand_in:
        argv += ["--device", "/dev/infiniband"]
    storage = d.fleet.storage.path
    written = (paths.cache(d), *((paths.outputs(d),) if any(role.name == "trainer" for role in d.roles) else ()))
    argv += ["--volume", f"{storage}:{storage}:ro"]
    for folder in written:
        argv += ["--volume", f"{folder}:{folder}"]
    argv += ["--volume", MOUNT]  # whole, for its gateway reaches the engine by a socket there
    env = {**runtime.environment(d, ""), paths.RUN: "", **command.env}
    # Podman itself has others
    argv += ["--env", f"HOME={env.pop('HOME')}", "--env", replace(paths.temporary(process), before="TMPDIR=")]
    for variable in sorted((*env, *command.secrets)):
        argv += ["--env", variable]  # values come from the script's own environment, so that none stands in an argv
    return Command(argv=(*argv, d.image, *command.argv), env=command.env, secrets=command.secrets)


def check(d: Deployment) -> str:
    """Shell that ends a process whose image is not on its node; where the nodes are somebody else's, it is pulled."""
    image = quote(d.image)
    if d.fleet.slurm == "existing":
        return f"podman image exists {image} || podman pull --quiet {image}"
    return (
        f"podman image exists {image} || {{\n"
        f'  echo "slipway: error: the image {d.image} is not on $(hostname); run pulumi up, which brings it there"\n'
        "  exit 1\n"
        "}"
    )


def enter(d: Deployment, process: str, command: Command) -> Command:
    """`podman exec` of a command in the container of another process of the same host."""
    argv: list[Word] = [*PODMAN, "exec"]
    for variable in sorted((*command.env, *command.secrets)):
        argv += ["--env", variable]
    return replace(command, argv=(*argv, name(d, process), *command.argv))
