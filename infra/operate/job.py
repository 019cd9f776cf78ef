"""A stack's SLURM jobs as the login host shows them: the live one, its node, what each has cost, and look-alikes."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from hosts.connection import Connect
from hosts.converge import cut_short
from hosts.errors import Failed, Truncated
from hosts.fleet import Fleet
from hosts.resources.slurm_job import foreign, queue
from hosts.shell import parse_frames, probe_script, quote
from infra import paths
from infra.deployment import Deployment
from roles.slurm import COMPLETIONS

CONTRADICTORY = "with two records that differ"
"""The state of a job in place of SLURM's, where the completion log has no one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job: `gpus` in all, `seconds` it has run; `limit` and `ends_at` as SLURM prints them, "" for none."""

    id: str
    state: str
    node: str = ""
    reason: str = ""
    gpus: int = 0
    seconds: float = 0.0
    limit: str = ""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """A job with the name of the stack's jobs that is none of them: another user's, or ours of another folder."""

    id: str
    user: str

    def __str__(self) -> str:
        return f"job {self.id} of {self.user} has this stack's name; it is not this stack's job, and not counted"


def claimed_probe(d: Deployment) -> str:
    """Shell that prints `claimed` where the stack has a claim on the fleet; one that has none is absent."""
    return f"[ ! -e {quote(paths.fleet_claim(d))} ] || echo claimed"


def live_probe(d: Deployment) -> str:
    """Shell that prints the stack's jobs that have not ended, and those that have its name only."""
    of_stack = queue(d.stack, paths.job_folder(d), paths.service_user(d.fleet))
    return f"{of_stack}\nour_jobs live && {foreign(d.stack)}"


def parse_live(out: str) -> list[Job]:
    """The jobs that `live_probe` printed. Raises Failed where squeue failed: an unknown queue is no empty one."""
    jobs = []
    for line in out.splitlines():
        word, _, row = line.partition(" ")
        if word == "failed":
            raise Failed(f"squeue failed on the login host: {row}")
        fields = row.split("|", 9)
        if word != "job" or len(fields) != 10:
            continue
        number, state, node, gres, nodes, elapsed, limit, end, fingerprint, reason = fields
        running = state in ("RUNNING", "COMPLETING", "SUSPENDED")
        jobs.append(
            Job(
                id=number,
                state=state,
                node=node if running else "",
                reason=reason,
                gpus=gpus_of(gres) * int(nodes if nodes.isdecimal() else 0),
                seconds=seconds_of(elapsed),
                limit=limit,
                ends_at=end if running and end not in ("N/A", "NONE") else "",
                fingerprint=fingerprint,
            )
        )
    return jobs


def parse_foreign(out: str) -> list[Foreign]:
    """The jobs that `live_probe` printed and that are not the stack's."""
    ours = {job.id for job in parse_live(out)}
    found = (
        re.fullmatch(r"foreign ([0-9][0-9_+]*)(?:_\[.*\])? ([\w.@$+\\-]{1,64})", line) for line in out.splitlines()
    )
    return [Foreign(id=it[1], user=it[2]) for it in found if it and it[1] not in ours]


def ended_probe(d: Deployment) -> str:
    """Shell that prints the stack's ended jobs from accounting, or from the completion log of a cluster of ours.

    What the stack has used is counted from its claim on the fleet on, not from an earlier life of the same name. Its
    jobs are the one that the intent has recorded, and those whose logs are in the job folder: into the completion log
    SLURM also writes the names of other users' jobs, newlines included.
    """
    folder, claim = paths.job_folder(d), quote(paths.fleet_claim(d))
    of_stack = queue(d.stack, folder, paths.service_user(d.fleet))
    record = f"^JobId=[0-9]+ UserId=[^ =]*[(]$uid[)] GroupId=[^=]* Name=slipway-{d.stack} JobState="
    return f"""{of_stack}
[ -n "$uid" ] || exit 0
since=$([ ! -e {claim} ] || date -d "@$(stat -c %Y -- {claim})" +%FT%T); echo "since $since"
echo "ours $id $(cd {quote(folder)} 2>/dev/null && ls | sed -n 's/^job-\\([0-9]*\\)[.]out$/\\1/p' | tr '\\n' ' ')"
grep -hsE -- "{record}" {COMPLETIONS} {COMPLETIONS}.* ||
  sacct -n -X -P -S "${{since:-2000-01-01}}" --user="$uid" --name=slipway-{d.stack} \\
    -o JobID,State,ElapsedRaw,AllocTRES 2>/dev/null
true"""


def parse_ended(out: str, live: Sequence[Job] = ()) -> list[Job]:
    """The jobs that `ended_probe` printed, each once, less the live ones and those that ended before the stack's claim.

    A job with two records that differ has no known cost: one of them was written by somebody else.
    """
    jobs: dict[str, Job] = {}
    since, ours = "", frozenset[str]()
    for line in out.splitlines():
        if line.startswith("since "):
            since = line.removeprefix("since ")
        elif line.startswith("ours "):
            ours = frozenset(line.split()[1:]) - {job.id for job in live}
        elif line.startswith("JobId="):
            fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
            if fields["JobId"] not in ours or fields.get("EndTime", "~") < since:  # both in the login host's own time
                continue
            job = Job(
                id=fields["JobId"],
                state=fields.get("JobState", ""),
                node=fields.get("NodeList", ""),
                gpus=gpus_of(fields.get("Gres", "") + "," + fields.get("Tres", "")),
                seconds=_between(fields.get("StartTime", ""), fields.get("EndTime", "")),
            )
            jobs[job.id] = job if jobs.get(job.id, job) == job else Job(id=job.id, state=CONTRADICTORY)
        elif line.count("|") == 3:
            number, state, elapsed, tres = line.split("|")
            if number in ours:
                seconds = float(elapsed if elapsed.isdecimal() else 0)
                jobs[number] = Job(id=number, state=state, gpus=gpus_of(tres), seconds=seconds)
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
