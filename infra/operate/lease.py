"""How long a served model may live: `--ttl` ends its job earlier than its stack file says, never later."""

import re
from math import ceil

from hosts.connection import Connect
from hosts.errors import Failed, InputError
from hosts.problem import Problem
from hosts.resources.slurm_job import PATH
from hosts.shell import quote
from infra.deployment import Deployment
from infra.operate.job import ask, seconds_of

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
    job, elapsed, limit = _job(d, connect)
    wanted = ceil(seconds_of(elapsed) / 60) + minutes
    if seconds_of(limit) and seconds_of(limit) <= wanted * 60:
        return f"job {job} ends by its own limit of {in_words(seconds_of(limit))} before that; --ttl changed nothing"
    out = ask(d.fleet, connect, f"{PATH}\nscontrol update jobid={quote(job)} TimeLimit={wanted} 2>&1 && echo done")[
        0
    ].split()
    if out[-1:] != ["done"]:
        said = " ".join(out)
        raise Failed(
            f"the model is served, but SLURM refused to end job {job} in {in_words(minutes * 60)} "
            f"(scontrol update): {said}"
        )
    return (
        f"job {job} ends {in_words(minutes * 60)} from now; "
        "a job that a later `pulumi up` submits has the stack file's limit"
    )


def _job(d: Deployment, connect: Connect) -> tuple[str, str, str]:
    """(id, time it has run, time limit) of the stack's live job, times as SLURM prints them."""
    name = quote(f"slipway-{d.stack}")
    listed = f"{PATH}\nsqueue --noheader --name={name} --states=RUNNING,PENDING,CONFIGURING --format='%i|%M|%l|%k' 2>&1"
    for line in ask(d.fleet, connect, listed)[0].splitlines():
        job, elapsed, limit, comment = [*line.split("|", 3), "", "", ""][:4]
        if f"slipway={d.stack}," in comment:
            return job, elapsed, limit
    raise Failed(f"{d.stack} has no live job whose time could be limited; `invoke status -s {d.stack}`")
