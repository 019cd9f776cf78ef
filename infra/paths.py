"""Where everything of a fleet and of a deployment lies on its hosts."""

from hosts.fleet import Fleet
from infra.command import Var
from infra.deployment import Deployment
from roles.base import SERVICE_USER


def service_user(fleet: Fleet) -> str:
    """The account that jobs run as; "" is the one that we log in with, where the cluster is somebody else's."""
    return SERVICE_USER if fleet.slurm == "ours" else ""


def run_user(fleet: Fleet) -> str:
    """The same by name, also where there is no SLURM: then systemd starts processes, and must be told as whom."""
    return fleet.login.user if fleet.slurm == "none" else service_user(fleet)


def run_group(fleet: Fleet) -> str:
    """The group of its files; "" is whatever group an account that is not ours has."""
    return "" if fleet.slurm == "none" else service_user(fleet)


def state_root(fleet: Fleet) -> str:
    """Slipway's own folder on a host; without root on somebody else's machines it lies on storage."""
    theirs = fleet.slurm == "existing" or fleet.kubernetes is not None
    return f"{fleet.storage.path}/.slipway" if theirs else "/var/lib/slipway"


def claims(fleet: Fleet) -> str:
    """The folder of the claims on the fleet itself."""
    return f"{state_root(fleet)}/claims"


def fleet_claim(d: Deployment) -> str:
    """The stack's claim on the fleet, made first and removed last on each host."""
    return f"{claims(d.fleet)}/fleet/{d.stack}"


def storage_claims(fleet: Fleet) -> str:
    """The folder of the claims on what lies on storage."""
    return f"{fleet.storage.path}/.slipway/claims"


def job_folder(d: Deployment) -> str:
    """The folder of one stack: its job's script, intent, logs, exit files and API key."""
    return f"{d.fleet.storage.path}/.slipway/{d.stack}"


def api_key(d: Deployment) -> str:
    """The file of the endpoint's API key."""
    return f"{job_folder(d)}/api-key"


def model(d: Deployment) -> str:
    """The folder of the model's files."""
    return f"{d.fleet.storage.path}/models/{d.model.name}"


def draft(d: Deployment) -> str:
    """The folder of the draft model's files; of a deployment that has one."""
    assert d.draft is not None
    return f"{d.fleet.storage.path}/models/{d.draft.name}"


def experts(d: Deployment) -> str:
    """The folder of the experts that CPUs compute; the model's own where no other is named."""
    return f"{d.fleet.storage.path}/models/{d.experts}" if d.experts else model(d)


def outputs(d: Deployment) -> str:
    """The folder of what a training leaves; no teardown takes it away."""
    return f"{d.fleet.storage.path}/outputs/{d.stack}"


def weights_records(fleet: Fleet) -> str:
    """The folder of what was hashed when."""
    return f"{fleet.storage.path}/.slipway/weights"


def environment(d: Deployment) -> str:
    """The prefix of the engine's environment, addressed by content; of one that comes in no image."""
    return f"{d.fleet.storage.path}/envs/{d.software.name}-{d.software.digest}"


def cache(d: Deployment) -> str:
    """The folder of the engine's caches; another environment has another, so that no kernel outlives its compiler."""
    if d.image:
        return f"{d.fleet.storage.path}/cache/image-{d.image.partition('@sha256:')[2][:16]}"
    return f"{d.fleet.storage.path}/cache/{d.software.name}-{d.software.digest}"


RUN = "SLIPWAY_RUN"
"""The shell variable with the private folder of a stack's run on one node; nobody else can make it first."""


def run_folder(d: Deployment) -> str:
    """That folder where systemd makes it for units: /run is root's. Stack names have no dot, none starts another's."""
    return f"/run/slipway.{d.stack}"


def new_run_folder(d: Deployment) -> str:
    """Shell that makes that folder where nobody with rights does: its name can't be guessed, and so not be taken."""
    return f"mktemp -d /tmp/slipway.{d.stack}.XXXXXX"


def temporary(process: str) -> Var:
    """The temporary folder of one process of a run."""
    return Var(RUN, after=f"/{process}")


ENGINE_SOCKET = Var(RUN, after="/engine.sock")
"""Where an engine that can do so listens for its gateway: only the owner of the folder reaches it."""
