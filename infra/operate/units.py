"""A stack's processes where systemd owns them: what each host says of its units, and the GPU-hours they have used."""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hosts.connection import Connect
from hosts.errors import SlipwayError
from hosts.shell import quote
from hosts.text import printable
from infra import paths
from infra.deployment import Deployment
from infra.engines import ENGINES
from infra.launchers import LAUNCHERS
from infra.operate.job import Job, ask_host
from infra.placement import place

STATE, TIME = re.compile("[a-z-]{0,40}"), re.compile("[0-9]{0,20}")
"""As systemd prints them."""
RUN = re.compile(r"(begin|end) ([0-9]{1,12}) ([a-z0-9-]{1,63}) ([a-z0-9-]{1,63}) ([0-9]{1,4})")
NOW = re.compile(r"now ([0-9]{1,12})")
PROPERTIES = {"LoadState": STATE, "ActiveState": STATE, "Result": STATE, "ActiveEnterTimestampMonotonic": TIME}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the hosts said: a row a unit that exists, the units that do not run, and why a host can't be asked."""

    rows: tuple[Job, ...]
    lost: tuple[str, ...]
    unread: Mapping[str, str]


def listed(d: Deployment) -> dict[str, tuple[str, ...]]:
    """The names of its processes on each host, in the order in which they are started."""
    names: dict[str, tuple[str, ...]] = {}
    for unit in LAUNCHERS[d.launcher.name].endpoint(d, place(d), ENGINES[d.engine]).units:
        host, _, name = unit.partition("/")
        names[host] = (*names.get(host, ()), name)
    return names


def probe(stack: str, names: Sequence[str]) -> str:
    """Shell that prints the time since boot, and of the unit of each process of a host `NAME KEY=VALUE...`."""
    words = " ".join(map(quote, names))
    return (
        "cut -d ' ' -f 1 /proc/uptime\n"
        f"for n in {words}; do\n"
        f'  echo "$n" $(systemctl show -p {",".join(PROPERTIES)} -- slipway-{stack}."$n".service)\n'
        "done"
    )


def units(d: Deployment, connect: Connect) -> Found:
    """Asks every host that has one, at once."""
    names = listed(d)
    devices = {host: len({gpu for rank in place(d).ranks if rank.host == host for gpu in rank.gpus}) for host in names}

    def one(host: str) -> list[str] | str:
        try:
            return ask_host(host, connect, probe(d.stack, names[host]))[0].split("\n")
        except SlipwayError as error:
            return str(error).splitlines()[0]

    with ThreadPoolExecutor(max(1, min(32, len(names)))) as pool:
        said = dict(zip(names, pool.map(one, names), strict=True))
    rows: list[Job] = []
    lost: list[str] = []
    for host, lines in said.items():
        if isinstance(lines, str):
            lost.append(f"{host} is not reachable")
            continue
        uptime, *shown = lines
        for name in names[host]:
            words = next((line.split()[1:] for line in shown if line.split()[:1] == [name]), [])
            said_of = dict(word.split("=", 1) for word in words if "=" in word)
            told = all(form.fullmatch(said_of.get(key, "?")) for key, form in PROPERTIES.items())
            if not told or not re.fullmatch(r"[0-9]{1,12}(\.[0-9]+)?", uptime):
                lost.append(
                    f"systemd of {host} does not tell of {name}: {printable(' '.join(words))[:80] or 'nothing'}"
                )
                continue
            active, result = said_of["ActiveState"], said_of["Result"]
            if said_of["LoadState"] == "not-found":
                continue
            runs = active == "active"
            seconds = float(uptime) - int(said_of["ActiveEnterTimestampMonotonic"] or 0) / 1e6 if runs else 0.0
            # the GPUs of a host are counted once, with the first of its processes
            gpus = devices[host] if name == names[host][0] else 0
            rows.append(Job(id=name, state=active, node=host, gpus=gpus, seconds=max(0.0, seconds)))
            if not runs:
                lost.append(f"{name} on {host} is {active}" + (f" ({result})" if result != "success" else ""))
    return Found(
        rows=tuple(rows),
        lost=tuple(lost),
        unread={host: lines for host, lines in said.items() if isinstance(lines, str)},
    )


def runs_probe(d: Deployment) -> str:
    """Shell that prints what each process has run, as its unit wrote it down on storage, and the time."""
    return f"cat -- {quote(paths.job_folder(d))}/runs-* 2>/dev/null; date '+now %s'"


def runs(out: str) -> list[Job]:
    """The time that GPUs were held, from what `runs_probe` printed: from a process's begin to its end, or to now."""
    open_: dict[tuple[str, str], tuple[int, int]] = {}
    done: list[Job] = []
    now = 0

    def close(key: tuple[str, str], at: int) -> None:
        began, gpus = open_.pop(key)
        done.append(Job(id=key[1], state="ended", node=key[0], gpus=gpus, seconds=max(0, at - began)))

    lines = out.split("\n")
    for line in lines:
        if found := NOW.fullmatch(line):
            now = int(found[1])
    for line in lines:
        if not (found := RUN.fullmatch(line)):
            continue
        what, at, host, name, gpus = found.groups()
        key = (host, name)
        if key in open_:  # a begin after a begin: the host went down in between, at the latest now
            close(key, int(at))
        if what == "begin":
            open_[key] = (int(at), int(gpus))
    for key in list(open_):
        close(key, now)
    return done
