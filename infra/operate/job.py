"""A stack's SLURM jobs as the login host tells: the live one, its node, its log, and what each has cost."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from hosts.connection import Connect
from hosts.converge import cut_short
from hosts.errors import Failed, Truncated
from hosts.fleet import Fleet
from hosts.resources.slurm_job import PATH
from hosts.shell import parse_frames, probe_script, quote
from infra import paths
from infra.deployment import Deployment
from roles.slurm import COMPLETIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job: `gpus` in all, `seconds` it has run, `ends_at` as SLURM prints it ("" where it does not run)."""

    id: str
    state: str
    node: str = ""
    reason: str = ""
    gpus: int = 0
    seconds: float = 0.0
    ends_at: str = ""
    fingerprint: str = ""


def ask(fleet: Fleet, connect: Connect, *probes: str, patient: bool = False) -> list[str]:
    """Runs read-only shell on the login host in one trip; what each printed. Raises Truncated where it was cut short.

    `patient` is for what may be silent for more than half a minute.
    """
    return ask_host(fleet.login.name, connect, *probes, patient=patient)


def ask_host(host: str, connect: Connect, *probes: str, patient: bool = False) -> list[str]:
    """The same on any host."""
    script = probe_script(probes)
    output = connect(host)(script, (lambda _line: None) if patient else None)
    frames, complete = parse_frames(script, output.stdout)
    if not complete:
        raise Truncated(f"{host}: {cut_short(output)} before the script ended; run it again")
    return [frames[str(n)].out for n in range(len(probes))]


def claimed_probe(d: Deployment) -> str:
    """Shell that prints `claimed` where the stack has a claim on the fleet; one that has none is absent."""
    return f"[ ! -e {quote(paths.fleet_claim(d))} ] || echo claimed"


def live_probe(stack: str) -> str:
    """Shell that prints the stack's jobs that have not ended."""
    name = quote(f"slipway-{stack}")
    return f"{PATH}\nsqueue --noheader --name={name} --format='%i|%T|%B|%r|%b|%D|%M|%e|%k' 2>&1 || echo failed"


def parse_live(out: str, stack: str) -> list[Job]:
    """The jobs that `live_probe` printed. Raises Failed where squeue failed: an unknown queue is no empty one."""
    jobs = []
    for line in out.splitlines():
        if line == "failed":
            raise Failed(f"squeue failed on the login host: {out.splitlines()[0]}")
        fields = line.split("|", 8)
        if len(fields) != 9 or f"slipway={stack}," not in fields[8]:
            continue
        number, state, node, reason, gres, count, elapsed, end, comment = fields
        running = state in ("RUNNING", "COMPLETING", "SUSPENDED")
        jobs.append(
            Job(
                id=number,
                state=state,
                node=node if running else "",
                reason=reason,
                gpus=gpus_of(gres) * int(count or 0),
                seconds=seconds_of(elapsed),
                ends_at=end if running and end not in ("N/A", "NONE") else "",
                fingerprint=comment.partition(",fingerprint=")[2].partition(",")[0],
            )
        )
    return jobs


def ended_probe(stack: str, claim: str) -> str:
    """Shell that prints the stack's ended jobs from accounting, or from the completion log of a cluster of ours.

    `claim` is the stack's claim on the fleet: what it has used is counted from then on, not from an earlier life of
    the same name. Where there is none, all that is on record is printed.
    """
    name, claim = quote(f"slipway-{stack}"), quote(claim)
    return (
        f'{PATH}\nsince=$([ ! -e {claim} ] || date -d "@$(stat -c %Y -- {claim})" +%FT%T); echo "since $since"\n'
        f"grep -hs -- {quote(f' Name=slipway-{stack} ')} {COMPLETIONS} {COMPLETIONS}.* || "
        f'sacct -n -X -P -S "${{since:-2000-01-01}}" --name={name} -o JobID,State,ElapsedRaw,AllocTRES 2>/dev/null'
        "\ntrue"
    )


def parse_ended(out: str) -> list[Job]:
    """The jobs that `ended_probe` printed, each once, less those that ended before the stack was claimed."""
    jobs: dict[str, Job] = {}
    since = ""
    for line in out.splitlines():
        if line.startswith("since "):
            since = line.removeprefix("since ")
        elif line.startswith("JobId="):
            fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
            if fields.get("EndTime", "~") < since:  # both in the login host's own time
                continue
            jobs[fields["JobId"]] = Job(
                id=fields["JobId"],
                state=fields.get("JobState", ""),
                node=fields.get("NodeList", ""),
                gpus=gpus_of(fields.get("Gres", "") + "," + fields.get("Tres", "")),
                seconds=_between(fields.get("StartTime", ""), fields.get("EndTime", "")),
            )
        elif line.count("|") == 3:
            number, state, elapsed, tres = line.split("|")
            jobs[number] = Job(id=number, state=state, gpus=gpus_of(tres), seconds=float(elapsed or 0))
    return list(jobs.values())


def gpus_of(text: str) -> int:
    """GPUs in a GRES or TRES text: `gpu:8`, `gres:gpu:h200:8`, `billing=2,gres/gpu=8`; 0 where it names none."""
    found = re.findall(r"gres/gpu=(\d+)|gpu(?::[A-Za-z][\w.-]*)?:(\d+)", text)
    return max((int(a or b) for a, b in found), default=0)


def seconds_of(elapsed: str) -> float:
    """SLURM's `[days-][hours:]minutes:seconds` in seconds; 0 for anything else."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", elapsed)
    if not found:
        return 0.0
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def gpu_hours(jobs: list[Job]) -> float:
    """GPU-hours of all the jobs together."""
    return sum(job.gpus * job.seconds for job in jobs) / 3600


def _between(start: str, end: str) -> float:
    try:
        return max(0.0, (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())
    except ValueError:
        return 0.0


Clock = Callable[[], float]
"""Seconds that only move forward; a parameter wherever something waits."""
