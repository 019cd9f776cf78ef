"""The one place where roles, engine and launcher meet: a deployment as stages, in the order they are brought about."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import ceil

from hosts.fleet import Fleet, Host
from hosts.resources.claim import Claim
from hosts.resources.system import Requirement
from hosts.shell import quote
from hosts.state import Resource, Stage
from infra import artifacts, paths
from infra.deployment import Deployment
from infra.engines import ENGINES
from infra.launchers import LAUNCHERS, unbuilt
from infra.placement import place
from infra.sizes import gib
from roles import requirements
from roles.base import bare, base
from roles.containers import built, containers, image, podman
from roles.environment import environment
from roles.gateway import gateway, no_service
from roles.munge import KEY_SECRET, munge
from roles.slurm import slurm
from roles.storage import storage

ENVIRONMENT_GIB = 12
"""What an engine's environment takes with its CUDA libraries, less its caches; vLLM 0.19.1 takes 8.1 GB."""


def desired(d: Deployment, *, backend: str, holder: str, digests: Mapping[str, str]) -> tuple[Stage, ...]:
    """All stages of a stack, the claim first. Pure.

    `backend` is a hash of the Pulumi backend, `holder` who works there, `digests` the sha256 of each secret by name;
    one that is not in it is made on the host.
    """

    def claim(folder: str, artifact: str) -> Claim:
        return Claim(folder=folder, artifact=artifact, stack=d.stack, backend=backend, holder=holder)

    fleet = d.fleet
    on_fleet = claim(paths.claims(fleet), "fleet")
    held = _gpus(d)
    gpus = {
        name: tuple(replace(claim(paths.claims(fleet), f"gpu-{gpu}"), exclusive=True) for gpu in held[name])
        for name in held
    }
    return (
        Stage(
            name="claim",
            hosts={host.name: (*_required(host, d), on_fleet, *gpus.get(host.name, ())) for host in fleet.managed},
        ),
        *cluster_stages(fleet, digests),
        *_artifact_stages(d, claim),
        *LAUNCHERS[d.launcher.name].stages(d, place(d), ENGINES[d.engine], digests=digests),
    )


def _gpus(d: Deployment) -> dict[str, tuple[int, ...]]:
    """The GPUs that a stack takes of each host, where no SLURM gives them out: nobody else may have them."""
    if d.fleet.slurm != "none" or d.fleet.kubernetes:
        return {}
    taken: dict[str, tuple[int, ...]] = {}
    for rank in place(d).ranks:
        taken[rank.host] = (*taken.get(rank.host, ()), *rank.gpus)
    return taken


def _artifact_stages(d: Deployment, claim: Callable[[str, str], Claim]) -> Iterator[Stage]:
    """What lies on storage: on shared storage one host brings it there, else each node; a namespace has a volume."""
    if d.fleet.kubernetes:
        return
    shared, software = paths.storage_claims(d.fleet), d.software
    hosts = (d.fleet.login,) if d.fleet.storage.shared else place(d).candidates
    if not d.image:
        in_environment = environment(
            artifacts.environment(d),
            lock=software.lock,
            requirements=software.requirements,
            tools=software.tools,
            claim=claim(shared, f"env-{software.name}-{software.digest}"),
        )
        yield Stage(name="environment", hosts={host.name: in_environment for host in hosts}, keep=True, lock=False)
    elif d.fleet.slurm != "existing":  # there a job pulls it: its nodes are somebody else's
        user = paths.run_user(d.fleet)
        on_image = claim(paths.claims(d.fleet), f"image-{d.image.rpartition(':')[2][:16]}")
        images = {
            host: (on_image, replace(image(d.fleet.host(host), d.fleet, d.image, user), claim=on_image.path))
            for host in place(d).hosts
        }
        yield Stage(name="image", hosts=images, keep=True, lock=False)
    if d.gated and d.fleet.slurm != "existing":
        yield Stage(name="gateway", hosts=dict.fromkeys(_heads(d), gateway()), keep=True)
    on_model = claim(shared, f"model-{d.model.name}")
    in_weights: tuple[Resource, ...] = (on_model, replace(artifacts.weights(d), claim=on_model.path))
    if d.draft:
        on_draft = claim(shared, f"model-{d.draft.name}")
        in_weights += (on_draft, replace(artifacts.draft(d), claim=on_draft.path))
    yield Stage(name="weights", hosts={host.name: in_weights for host in hosts}, keep=True, lock=False)


def _heads(d: Deployment) -> tuple[str, ...]:
    """The hosts that may be the first rank's: one, or all candidates where a scheduler chooses."""
    return place(d).hosts[:1] or tuple(host.name for host in place(d).candidates)


def cluster_requirements(fleet: Fleet) -> Stage:
    """What must hold before the cluster stages, whatever is to be served: a stage that checks and writes nothing."""
    return Stage(
        name="requirements",
        hosts={host.name: (*_machine(host, fleet, cuda=""), *requirements.disk(fleet)) for host in fleet.managed},
    )


def cluster_stages(fleet: Fleet, digests: Mapping[str, str]) -> tuple[Stage, ...]:
    """The stages of the machines of ours, a function of the fleet alone; none where somebody else sets them up."""
    if fleet.slurm == "existing" or fleet.kubernetes:
        return ()
    user = paths.run_user(fleet)
    key = digests.get(KEY_SECRET, "")
    stages: dict[str, dict[str, tuple[Resource, ...]]] = {
        "base": {host.name: base(host, fleet) for host in fleet.hosts},
        "storage": {host.name: storage(host, fleet, owner=user, group=paths.run_group(fleet)) for host in fleet.hosts},
        "munge": {host.name: munge(key_digest=key, held=host.role == "login") for host in fleet.hosts},
        "slurm": {host.name: slurm(host, fleet) for host in fleet.hosts},
        "containers": {host.name: containers(host, fleet, user) for host in fleet.hosts},
    }
    if fleet.slurm == "none":
        kept = {name: stages[name] for name in ("storage", "containers")}
        stages = {"base": {host.name: bare(host, fleet) for host in fleet.hosts}, **kept}
    return tuple(
        Stage(name=name, hosts={host: resources for host, resources in hosts.items() if resources}, keep=True)
        for name, hosts in stages.items()
        if any(hosts.values())
    )


def _required(host: Host, d: Deployment) -> tuple[Requirement, ...]:
    """What must hold on one host before this stack writes anything anywhere."""
    fleet, login = d.fleet, host.name == d.fleet.login.name
    needs = [*_machine(host, fleet, cuda=d.software.cuda)]
    copied = d.model.weights_bytes if d.model.source else 0
    if not fleet.kubernetes:  # its storage is a volume, mounted in pods
        needs += requirements.disk(
            fleet,
            free_gib=(0 if d.image else ENVIRONMENT_GIB) + (copied >> 30) if login else 0,
            counted=(*(() if d.image else (paths.environment(d),)), paths.model(d)),
        )
    if fleet.slurm == "existing":
        placement = place(d)
        needs += requirements.site(
            partition=d.launcher.partition,
            nodes=placement.nodes,
            gpus_per_node=placement.gpus_per_node,
            memory_mib=ceil(gib(d.launcher.mem, d.launcher.name) * 1024),
            cpus=d.launcher.cpus,
            account=d.launcher.account,
            qos=d.launcher.qos,
            time=d.launcher.time,
            constraint=d.launcher.constraint,
            nodelist=placement.hosts,
            by_tasks=d.launcher.by_tasks,
            image=bool(d.image),
        )
    if d.image and host.name in place(d).hosts:
        needs += podman(host, fleet, paths.run_user(fleet))
    if d.gated and fleet.slurm != "existing" and host.name in _heads(d):
        needs.append(no_service())
    if login and d.image:
        needs += built(d.image)
    if login and not d.image and not d.software.locked:
        needs.append(_not_locked(d))
    if login and not LAUNCHERS[d.launcher.name].built:
        needs.append(unbuilt.requirement(d.launcher.name))
    return tuple(needs)


def _machine(host: Host, fleet: Fleet, *, cuda: str) -> tuple[Requirement, ...]:
    """Of a machine that is ours to set up; one whose SLURM is somebody else's is theirs to keep healthy."""
    if fleet.slurm == "existing" or fleet.kubernetes:
        return ()
    return (*requirements.machine(host, fleet), *(() if fleet.stand_in else requirements.gpus(host, cuda=cuda)))


def _not_locked(d: Deployment) -> Requirement:
    """A requirement that never holds: the stack can be previewed, and is refused before anything is written."""
    folder = f"infra/environments/{d.software.name}"
    return Requirement(
        name="environment-lock",
        check=f"echo {quote(f'no {d.software.missing} in {folder}')}",
        wanted="an environment that was solved and pinned",
        fix=f"{d.software.next_step}, and commit what it writes",
    )
