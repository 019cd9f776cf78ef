"""Takes away what a stack's name says on its hosts, whether or not a stage of it ever came into Pulumi's state.

An `up` that fails writes things that Pulumi does not know: the stage's claim, the job's folder with its key, units. The
delete of the claim and `invoke teardown` both end with this.
"""

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from hosts.connection import Connect
from hosts.converge import Say, converge, gather, plan
from hosts.errors import Blocked, SlipwayError, Unreachable
from hosts.fleet import Fleet
from hosts.resources.claim import Claim
from hosts.resources.detached import Detached
from hosts.resources.files import Directory, File
from hosts.resources.remains import Containers, TemporaryFolders
from hosts.resources.slurm_job import PATH, SlurmJob
from hosts.resources.system import Unit
from hosts.shell import quote
from hosts.state import Resource, Stage
from infra import paths
from infra.launchers.units import FOLDER
from infra.operate.absence import scan
from infra.operate.job import ask_host
from roles.slurm import COMPLETIONS

ARTIFACT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""What is claimed: `fleet`, `gpu-3`, `env-vllm-0.19.1-…`."""


def remove(fleet: Fleet, stack: str, connect: Connect, *, backend: str, holder: str, lock_dir: str, say: Say) -> None:
    """Ends what runs, removes folders and keys, scans that nothing is left, and only then lets go of the claims.

    What is shared (environments, weights, images) loses the stack's claim and stays. Raises Blocked where the stack is
    claimed from another backend or a state can't be told, Unreachable with every host that can't be read, and
    LeftBehind with what is still there; running it again goes on.
    """
    found = _look(fleet, stack, connect)
    claims = _claims(fleet, stack, found, backend)
    refused = plan(claims, gather(claims, connect), absent=True).blocked
    if refused:
        raise Blocked(refused)
    for stage in (_work(fleet, stack, found), _folders(fleet, stack)):
        _take_away(stage, connect, holder, lock_dir, say)
    say("all hosts", f"looking for anything left of {stack}")
    left = scan(fleet, stack, connect, ignore_claims=True)
    for note in left.notes():
        say("all hosts", note)
    left.raise_left()
    _take_away(claims, connect, holder, lock_dir, say)


def _take_away(stage: Stage, connect: Connect, holder: str, lock_dir: str, say: Say) -> None:
    if stage.hosts:
        converge(stage, connect, apply=True, absent=True, lock_dir=lock_dir, holder=holder, say=say).raise_errors()


def _look(fleet: Fleet, stack: str, connect: Connect) -> Mapping[str, tuple[str, ...]]:
    """By host: `unit NAME`, `claim PATH`, and `queue` where a job of the stack may be."""
    unit = quote(f"{FOLDER}/slipway-{stack}.")
    places = dict.fromkeys((paths.claims(fleet), paths.storage_claims(fleet)))
    claims = " ".join(f"{quote(place)}/*/{quote(stack)}" for place in places)
    # the intent is on disk before a job is submitted; a cluster that was never set up can't be asked, and has no jobs
    queue = (
        f"{PATH}\nif [ -e {quote(f'{_folder(fleet, stack)}/intent')} ] || "
        'squeue --noheader --user="$(id -un)" >/dev/null 2>&1; then echo queue; fi'
    )
    units = (  # one that was half removed has left its settings, NAME.d
        f'for f in {unit}*.service {unit}*.service.d; do [ -e "$f" ] || continue; f=${{f##*/}}; echo "unit ${{f%.d}}"; '
        "done"
    )
    claimed = f'for f in {claims}; do [ ! -e "$f" ] || echo "claim $f"; done'

    def one(host: str) -> tuple[str, ...] | SlipwayError:
        try:
            more = units if fleet.slurm == "none" else queue if host == fleet.login.name else "true"
            return tuple(dict.fromkeys(ask_host(host, connect, f"{claimed}\n{more}")[0].splitlines()))
        except SlipwayError as error:
            return error

    names = [host.name for host in fleet.managed]
    with ThreadPoolExecutor(max(1, min(32, len(names)))) as pool:
        answers = dict(zip(names, pool.map(one, names), strict=True))
    lost = [str(answer) for answer in answers.values() if isinstance(answer, SlipwayError)]
    if lost:
        raise Unreachable("nothing was removed, because:\n" + "\n".join(f"  {line}" for line in lost))
    return {host: answer for host, answer in answers.items() if not isinstance(answer, SlipwayError)}


def _folder(fleet: Fleet, stack: str) -> str:
    return f"{fleet.storage.path}/.slipway/{stack}"


def _on_storage(fleet: Fleet) -> tuple[str, ...]:
    """The hosts that remove what lies on storage: one, where all see the same."""
    return (fleet.login.name,) if fleet.storage.shared else tuple(host.name for host in fleet.managed)


def _claims(fleet: Fleet, stack: str, found: Mapping[str, tuple[str, ...]], backend: str) -> Stage:
    """The stack's claims; removed in the opposite order, so that on each host the one on the fleet goes last."""
    shared = paths.storage_claims(fleet)
    hosts: dict[str, tuple[Resource, ...]] = {}
    for host, lines in found.items():
        claims: dict[str, Claim] = {}
        for line in lines:
            path = line.removeprefix("claim ").removesuffix(f"/{stack}")
            folder, _, artifact = path.rpartition("/")
            if not line.startswith("claim ") or not ARTIFACT.fullmatch(artifact):
                continue
            if folder == shared and host not in _on_storage(fleet):
                continue
            claims[artifact] = Claim(folder=folder, artifact=artifact, stack=stack, backend=backend, holder="")
        hosts[host] = tuple(claims[artifact] for artifact in sorted(claims, key=lambda it: it != "fleet"))
    return Stage(name="claims", hosts={host: claims for host, claims in hosts.items() if claims})


def _work(fleet: Fleet, stack: str, found: Mapping[str, tuple[str, ...]]) -> Stage:
    """What may run; taken away from the end on."""
    user = paths.run_user(fleet)
    name = re.compile(rf"slipway-{re.escape(stack)}\.[A-Za-z0-9_.-]+\.service")
    hosts: dict[str, tuple[Resource, ...]] = {}
    for host, lines in found.items():
        made: list[Resource] = [Containers(stack=stack, user=user)]
        for unit in (line.removeprefix("unit ") for line in lines if line.startswith("unit ")):
            if name.fullmatch(unit):
                made += [File(path=f"{FOLDER}/{unit}", content=""), Unit(name=unit, fingerprint="")]
        if "queue" in lines:
            made.append(
                SlurmJob(
                    stack=stack,
                    folder=_folder(fleet, stack),
                    fingerprint="",
                    user=paths.service_user(fleet),
                    completions=COMPLETIONS if fleet.slurm == "ours" else "",
                )
            )
        hosts[host] = (*made, Detached(stack=stack))
    return Stage(name="work", hosts=hosts)


def _folders(fleet: Fleet, stack: str) -> Stage:
    """The job's folder, with its key and its logs, and temporary folders."""
    user, group = paths.run_user(fleet), paths.run_group(fleet)
    folder = Directory(path=_folder(fleet, stack), mode="0750", owner=user, group=group, purge=True)
    temporary = TemporaryFolders(stack=stack, user=user)
    on_storage = _on_storage(fleet)
    return Stage(
        name="folders",
        hosts={host.name: (folder, temporary) if host.name in on_storage else (temporary,) for host in fleet.managed},
    )
