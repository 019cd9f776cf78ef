"""The state of a stack as its machines tell it: claim, job, endpoint; never read from Pulumi's state."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from hosts.connection import Connect
from hosts.errors import SlipwayError
from hosts.resources.endpoint import Endpoint
from hosts.shell import quote
from infra import paths
from infra.deployment import Deployment
from infra.engines import ENGINES
from infra.launchers import LAUNCHERS
from infra.operate.job import (
    Foreign,
    Job,
    ask,
    ended_probe,
    gpu_hours,
    live_probe,
    parse_ended,
    parse_foreign,
    parse_live,
)
from infra.operate.units import runs, runs_probe, units
from infra.placement import place


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The fixed shape of `status --json`; `hosts` maps a host to `ok` or to why it can't be read."""

    stack: str
    state: str
    endpoint: str | None
    model: str
    jobs: tuple[Job, ...]
    hosts: dict[str, str]
    gpu_hours: float
    ends_at: str | None
    why: str = ""
    foreign_jobs: tuple[Foreign, ...] = ()
    """Jobs with this stack's name that are not its own: shown, never counted, never touched."""

    def to_json(self) -> dict[str, object]:
        """The document."""
        return {
            "stack": self.stack,
            "state": self.state,
            "endpoint": self.endpoint,
            "model": self.model,
            "jobs": [
                {"id": j.id, "state": j.state, "node": j.node, "gpus": j.gpus, "seconds": j.seconds} for j in self.jobs
            ],
            "hosts": self.hosts,
            "gpu_hours": round(self.gpu_hours, 4),
            "ends_at": self.ends_at,
            "why": self.why,
            "foreign_jobs": [{"id": job.id, "user": job.user} for job in self.foreign_jobs],
        }

    def text(self) -> str:
        """For people."""
        lines = [f"{self.stack}: {self.state}" + (f" ({self.why})" if self.why else "")]
        if self.endpoint:
            lines.append(f"  endpoint   {self.endpoint}  (model {self.model})")
        shown = self.jobs[-5:] if all(job.id.isdigit() for job in self.jobs) else self.jobs
        lines += [
            f"  {'job ' * job.id.isdigit()}{job.id:6} {job.state:10} {job.node or '-':12} {job.gpus} GPU(s), "
            f"{job.seconds / 3600:.2f} h"
            for job in shown
        ]
        lines += [f"  host {name:10} {self._shown(state)}" for name, state in self.hosts.items()]
        lines.append(f"  GPU-hours  {self.gpu_hours:.2f}" + (f", ends at {self.ends_at}" if self.ends_at else ""))
        lines += [f"  {job}" for job in self.foreign_jobs]
        return "\n".join(lines)

    def _shown(self, state: str) -> str:
        """A host's state, without repeating the reason of the first line."""
        if state == "ok":
            return "answers"
        return "does not answer" if state == self.why else state


def endpoint_of(d: Deployment) -> Endpoint:
    """The endpoint as the launcher declares it."""
    return LAUNCHERS[d.launcher.name].endpoint(d, place(d), ENGINES[d.engine])


def status(d: Deployment, connect: Connect) -> Status:
    """Asks the login host for everything in one trip, and every other host whether it is there."""
    hosts = _reachable(d, connect)
    empty = Status(
        stack=d.stack,
        state="unknown",
        endpoint=None,
        model=d.served_name,
        jobs=(),
        hosts=hosts,
        gpu_hours=0,
        ends_at=None,
    )
    endpoint = endpoint_of(d)
    claim, intent = quote(paths.fleet_claim(d)), quote(f"{paths.job_folder(d)}/intent")
    known = f"[ ! -e {claim} ] || echo claimed; [ ! -e {intent} ] || echo submitted"
    if endpoint.units:
        return _of_units(d, connect, empty, endpoint, known)
    try:
        live_out, ended_out, claimed, ready = ask(
            d.fleet, connect, live_probe(d), ended_probe(d), known, endpoint.probe()
        )
        if "squeue: command not found" in live_out or (not claimed.strip() and live_out.startswith("failed ")):
            live_out = ""  # no SLURM there yet, and nothing of this stack either
        live, foreign_jobs = parse_live(live_out), parse_foreign(live_out)
    except SlipwayError as error:
        return replace(empty, why=str(error).splitlines()[0])
    place_gpus = place(d).gpus
    jobs = [*known_gpus(parse_ended(ended_out, live), place_gpus), *live]
    observed = endpoint.observed(ready.strip().splitlines()[-1] if ready.strip() else "")
    state, why = _state(live, claimed, bool(observed), hosts, jobs, stack=d.stack)
    return Status(
        stack=d.stack,
        state=state,
        endpoint=observed.get("endpoint"),
        model=d.served_name,
        jobs=tuple(jobs),
        hosts=hosts,
        gpu_hours=gpu_hours(jobs),
        ends_at=next((job.ends_at for job in live if job.ends_at), None),
        why=why,
        foreign_jobs=tuple(foreign_jobs),
    )


def _of_units(d: Deployment, connect: Connect, empty: Status, endpoint: Endpoint, known: str) -> Status:
    """Of a stack whose processes systemd owns."""
    found = units(d, connect)
    try:
        claimed, ready, ran = ask(d.fleet, connect, known, endpoint.probe(), runs_probe(d))
    except SlipwayError as error:
        return replace(empty, why=str(error).splitlines()[0])
    observed = endpoint.observed(ready.strip().splitlines()[-1] if ready.strip() else "")
    running = [row for row in found.rows if row.state == "active"]
    lost = [name for name, state in empty.hosts.items() if state != "ok" and name not in found.unread]
    if observed or (running and found.lost):
        wrong = [*found.lost, *(f"{name} is not reachable" for name in lost)]
        state, why = ("degraded", "; ".join(wrong)) if wrong else ("ready", "")
    elif running:
        state, why = "starting", f"its processes run and give no token yet; `invoke logs -s {d.stack} -f` shows why"
    elif found.rows:
        again = f"`invoke logs -s {d.stack}` shows why, `pulumi up -s {d.stack}` starts them again"
        state, why = "failed", f"{'; '.join(found.lost)}; {again}"
    else:
        state, why = ("pending", "claimed, and nothing is started yet") if "claimed" in claimed else ("absent", "")
    return replace(
        empty,
        state=state,
        why=why,
        endpoint=observed.get("endpoint"),
        jobs=found.rows,
        gpu_hours=gpu_hours(runs(ran)),
    )


def _state(
    live: list[Job], claimed: str, ready: bool, hosts: dict[str, str], jobs: list[Job], *, stack: str
) -> tuple[str, str]:
    running = [job for job in live if job.state == "RUNNING"]
    queued = [job for job in live if job.state != "COMPLETING"]  # which has ended, and is being cleared away
    lost = [name for name, state in hosts.items() if state != "ok"]
    if ready:
        return ("degraded", f"not reachable: {', '.join(lost)}") if lost else ("ready", "")
    if running and lost:
        return "degraded", f"it gives no token, and is not reachable: {', '.join(lost)}"
    if running:
        return "starting", f"its job runs and gives no token yet; `invoke logs -s {stack} -f` shows why"
    if queued:
        return "pending", f"its job is queued: {queued[0].reason}"
    if "submitted" in claimed:
        last = f"job {jobs[-1].id} is {jobs[-1].state}" if jobs else "its job is gone"
        return "failed", f"{last}; `invoke logs -s {stack}` shows its log, `pulumi up -s {stack}` submits it again"
    return ("pending", "claimed, and nothing is submitted yet") if "claimed" in claimed else ("absent", "")


def known_gpus(jobs: list[Job], gpus: int) -> list[Job]:
    """Ended jobs whose record names no GPUs (the completion log does not) with those that the stack asks for."""
    return [job if job.gpus else replace(job, gpus=gpus) for job in jobs]


def _reachable(d: Deployment, connect: Connect) -> dict[str, str]:
    def one(name: str) -> str:
        try:
            connect(name)
        except SlipwayError as error:
            return str(error).splitlines()[0]
        return "ok"

    names = [host.name for host in d.fleet.managed]
    with ThreadPoolExecutor(max(1, min(32, len(names)))) as pool:
        return dict(zip(names, pool.map(one, names), strict=True))
