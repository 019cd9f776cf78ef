"""How long a served model may live: `--ttl` ends its job earlier than its stack file says, never later."""

import re
from math import ceil

from hosts.connection import Connect
from hosts.errors import Failed, InputError
from hosts.problem import Problem
from hosts.resources.slurm_job import PATH
from hosts.shell import quote
from infra.deployment import Deployment
from infra.operate.job import Job, ask, live_probe, parse_live, seconds_of

MINUTES = {"m": 1, "h": 60, "d": 1440}


def minutes_of(text: str) -> int:
    """`4h`, `90m`, `2d` or SLURM's `[days-]hours:minutes:seconds` in minutes, at least one. Raises InputError."""
    short = re.fullmatch(r"([0-9]{1,5})([mhd])", text)
    minutes = (
        int(short[1]) * MINUTES[short[2]]
        if short
        else ceil(seconds_of(text) / 60)
        if re.fullmatch(r"([0-9]{1,3}-)?[0-9]{1,3}:[0-9]{2}:[0-9]{2}", text)
        else 0
    )
    if not minutes:
        wanted = "a time such as 4h, 90m, 2d or 1-12:00:00"
        raise InputError([Problem(where="--ttl", found=repr(text), wanted=wanted, fix="for example --ttl 4h")])
    return minutes


def in_words(seconds: float) -> str:
    """A length of time for people: `12 minutes`, `1 day 6 hours`. SLURM prints 12 minutes as `12:00`."""
    minutes = ceil(seconds / 60)
    parts = ((minutes // 1440, "day"), (minutes // 60 % 24, "hour"), (minutes % 60, "minute"))
    return " ".join(f"{count} {unit}{'s' * (count > 1)}" for count, unit in parts if count) or "0 minutes"


def shorten(d: Deployment, connect: Connect, minutes: int) -> str:
    """Lets the stack's job end `minutes` from now, and says what holds then; its own limit stays where it is earlier.

    A user may always shorten a job of his own; only an operator may lengthen one. Raises Failed where SLURM refuses.
    """
    job = _job(d, connect)
    wanted = ceil(job.seconds / 60) + minutes
    limit_s = seconds_of(job.limit)
    if 0 < limit_s <= wanted * 60:
        return f"job {job.id} ends by its own limit of {in_words(limit_s)} before that; --ttl changed nothing"
    update = f"{PATH}\nscontrol update jobid={quote(job.id)} TimeLimit={wanted} 2>&1 && echo done"
    out = ask(d.fleet, connect, update)[0].split()
    if out[-1:] != ["done"]:
        said = " ".join(out)
        raise Failed(
            f"the model is served, but SLURM refused to end job {job.id} in {in_words(minutes * 60)} "
            f"(scontrol update): {said}"
        )
    return (
        f"job {job.id} ends {in_words(minutes * 60)} from now; "
        "a job that a later `pulumi up` submits has the stack file's limit"
    )


def _job(d: Deployment, connect: Connect) -> Job:
    """The stack's live job. Raises Failed where there is none."""
    for job in parse_live(ask(d.fleet, connect, live_probe(d))[0]):
        if job.state in ("RUNNING", "PENDING", "CONFIGURING"):
            return job
    raise Failed(f"{d.stack} has no live job whose time could be limited; `invoke status -s {d.stack}`")
