"""What a teardown does besides Pulumi's destroy: the stack's cost, removing a cluster, collecting the unclaimed."""

from dataclasses import dataclass, replace

from hosts.connection import Connect
from hosts.converge import LOCK_DIR, Say, Secrets, converge
from hosts.errors import NotOurs, SlipwayError, Unknown
from hosts.fleet import Fleet
from hosts.resources.claim import Claim
from hosts.resources.files import Directory
from hosts.resources.system import Package
from hosts.shell import quote
from hosts.state import Resource, Stage
from infra import paths
from infra.deployment import Deployment
from infra.operate.job import Job, ask, ask_host, ended_probe, gpu_hours, live_probe, parse_ended, parse_live
from infra.operate.status import known_gpus
from infra.operate.units import runs, runs_probe
from infra.placement import place


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """GPU-hours of all jobs of a stack, and their price where the fleet names one; `unknown` says why not."""

    jobs: tuple[Job, ...] = ()
    hours: float = 0.0
    price_per_gpu_hour: str = ""
    unknown: str = ""

    def text(self) -> str:
        """For people."""
        if self.unknown:
            return f"GPU-hours: not known ({self.unknown})"
        line = f"GPU-hours: {self.hours:.2f} in {len(self.jobs)} run(s)"
        if self.price_per_gpu_hour:
            line += f", {self.hours * float(self.price_per_gpu_hour):.2f} at {self.price_per_gpu_hour} a GPU-hour"
        return line

    def to_json(self) -> dict[str, object]:
        """The document's part; `cost` is null where the fleet names no price."""
        return {
            "gpu_hours": round(self.hours, 4),
            "jobs": len(self.jobs),
            "cost": round(self.hours * float(self.price_per_gpu_hour), 2) if self.price_per_gpu_hour else None,
            "unknown": self.unknown or None,
        }


def bill(d: Deployment, connect: Connect) -> Bill:
    """Asked before the jobs are ended: SLURM knows a live job's GPUs, and the completion log the ended ones' times."""
    if d.by_systemd:
        try:
            ran = runs(ask(d.fleet, connect, runs_probe(d))[0])
        except SlipwayError as error:
            return Bill(unknown=str(error).splitlines()[0])
        return Bill(jobs=tuple(ran), hours=gpu_hours(ran), price_per_gpu_hour=d.fleet.price_per_gpu_hour)
    try:
        live, ended = ask(d.fleet, connect, live_probe(d), ended_probe(d))
        running = [] if "squeue: command not found" in live else parse_live(live)
    except SlipwayError as error:
        return Bill(unknown=str(error).splitlines()[0])
    jobs = [*known_gpus(parse_ended(ended, running), place(d).gpus), *running]
    return Bill(jobs=tuple(jobs), hours=gpu_hours(jobs), price_per_gpu_hour=d.fleet.price_per_gpu_hour)


def claimants(fleet: Fleet, connect: Connect) -> list[str]:
    """The stacks that claim the fleet, from every host that we may log in to. Raises Unreachable."""
    listed = f"ls -- {quote(f'{paths.claims(fleet)}/fleet')} 2>/dev/null"
    found = {name for host in fleet.managed for name in ask_host(host.name, connect, listed)[0].split()}
    return sorted(name for name in found if not name.endswith(".new"))


def refuse_elsewhere(d: Deployment, backend: str, connect: Connect) -> None:
    """Raises NotOurs where the stack is claimed from another Pulumi backend: a destroy here would find nothing to do,
    and what lives would look like something left behind."""
    claim = Claim(folder=paths.claims(d.fleet), artifact="fleet", stack=d.stack, backend=backend, holder="")
    for host in d.fleet.managed:
        try:
            claim.parse(ask_host(host.name, connect, claim.probe())[0])
        except Unknown as reason:
            raise NotOurs(f"{host.name}: {reason}; nothing was removed") from None


def refuse_claimed(fleet: Fleet, connect: Connect, *, but: str = "") -> None:
    """Raises NotOurs while a stack other than `but` claims the fleet, and names it."""
    claimed = [name for name in claimants(fleet, connect) if name != but]
    if claimed:
        raise NotOurs(
            f"the cluster {fleet.name} is claimed by {', '.join(claimed)}, so nothing was removed; first run: "
            + "; ".join(f"invoke teardown -s {name}" for name in claimed)
        )


def remove_cluster(
    fleet: Fleet, stages: tuple[Stage, ...], connect: Connect, *, holder: str, secrets: Secrets, say: Say
) -> list[str]:
    """Takes the cluster's stages away, last first, and says what went. Raises NotOurs while a stack claims the fleet.

    What somebody else may need or have filled stays: the packages below SLURM, folders with logs and the record of
    jobs in them, and the stage `storage`, whose folders hold what `--purge` collects.
    """
    refuse_claimed(fleet, connect)
    gone: list[str] = []
    for stage in map(_removable, reversed([stage for stage in stages if stage.name != "storage"])):
        say("all hosts", f"removing {stage.name}")
        report = converge(
            stage, connect, apply=True, absent=True, secrets=secrets, lock_dir=LOCK_DIR, holder=holder, say=say
        )
        report.raise_errors()
        gone += [f"{outcome.host}: {key}" for outcome in report.outcomes for key in outcome.applied]
    return gone


def _removable(stage: Stage) -> Stage:
    """A cluster stage less what stays when the cluster goes."""

    def stays(resource: Resource) -> bool:
        return (isinstance(resource, Directory) and not resource.purge) or (
            isinstance(resource, Package) and stage.name == "base"
        )

    return replace(stage, hosts={h: tuple(r for r in wanted if not stays(r)) for h, wanted in stage.hosts.items()})


def purge(fleet: Fleet, connect: Connect) -> list[str]:
    """Removes environments, their caches, and models that we copied, where no stack claims them; what went.

    What lies in a folder that another user could alter is left alone.
    """
    root, claims = quote(fleet.storage.path), quote(paths.storage_claims(fleet))
    script = f"""
cd -P -- {root} 2>/dev/null || exit 0
top=$(pwd -P)
claimed() {{ ls {claims}/"$1"/* >/dev/null 2>&1; }}
ours() {{ [ -z "$(untrusted {root}/"$1")" ]; }}
emptied() (  # a folder's own user removes what is in it
  cd -P -- "$1" 2>/dev/null && [ "$(pwd -P)" = "$top/$1" ] && trust_as . &&
    "${{as[@]}}" rm -rf --one-file-system -- "./$2"
)
if ours .slipway/claims && ours envs; then
  for e in envs/*-????????????????; do
    [ -d "$e" ] && ! claimed "env-${{e#envs/}}" || continue
    rm -rf --one-file-system -- "$e" "$e".* && echo "$e"
    emptied cache "${{e#envs/}}"
  done
fi
if ours .slipway/claims && ours models; then
  for m in models/*; do  # a folder that we merely verified is somebody else's
    [ -e "$m/.slipway-copy" ] && ! claimed "model-${{m#models/}}" || continue
    rm -rf --one-file-system -- "$m" && echo "$m"
  done
fi"""
    return ask(fleet, connect, script, patient=True)[0].split()
