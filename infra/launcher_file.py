"""What a stack file says of its launcher: the same keys for all of them, each of which uses some."""

import re
from collections.abc import Iterator, Mapping

from hosts.fleet import Fleet
from hosts.problem import Problem
from hosts.schema import Kind, Reader
from infra.deployment import LauncherConfig
from infra.worded import quoted, worded

TIME = re.compile(r"(?:(?P<days>\d{1,9})-)?\d{1,5}(?::\d{2}){0,2}")
TIME_LIMIT = Kind(
    pattern=r"[0-9:-]{1,16}",
    wanted="a time as SLURM takes it, in quotes: MINUTES[:SECONDS], HOURS:MINUTES:SECONDS (24:00:00 is a day), or "
    "DAYS-HOURS[:MINUTES[:SECONDS]]",
)
LAUNCHER: Mapping[str, Kind] = {
    "partition": Kind(
        pattern=r"[A-Za-z0-9_][A-Za-z0-9_.,-]*", wanted="the name of a partition: letters, digits and _ . -"
    ),
    "account": Kind(pattern=r"[A-Za-z0-9_][A-Za-z0-9_.@-]*", wanted="an account of SLURM: letters, digits and _ . @ -"),
    "qos": Kind(pattern=r"[A-Za-z0-9_][A-Za-z0-9_.@-]*", wanted="a QOS of SLURM: letters, digits and _ . @ -"),
    "constraint": Kind(
        pattern=r"[A-Za-z0-9_.,&|()*\[\]-]+", wanted="features of nodes as sbatch takes them, without blanks: h200&ib"
    ),
    "nodelist": Kind(pattern=r"[A-Za-z0-9_.,-]*", wanted="names of nodes with commas between them: n1,n2"),
    "mem": Kind(
        pattern=r"0|[1-9][0-9]{0,9}([KMGT]|[KMGT]i)?",
        wanted="memory of a node: a whole number with a unit, as 1800G; 0: all",
    ),
    "shm": Kind(pattern=r"[1-9][0-9]{0,9}[KMGT]i?", wanted="the size of /dev/shm: a whole number with a unit, as 256G"),
    "devices": Kind(
        pattern=r"[0-9]{1,3}(-[0-9]{1,3})?(,[0-9]{1,3}(-[0-9]{1,3})?)*",
        wanted="the numbers of GPUs of each node, in quotes: 4-7 or 0,2",
    ),
}
"""What the launcher's texts are."""


def launcher(reader: Reader, fleet: Fleet | None, names: tuple[str, ...]) -> LauncherConfig:
    """What the launcher asks for; the partition is the fleet's where none is named.

    All launchers read the same keys, so that another one is a change of its name; see `unused`.
    """
    name = reader.choice("name", names)
    config = LauncherConfig(
        name=name,
        partition=worded(reader, "partition", LAUNCHER["partition"], default=fleet.partition if fleet else "gpu"),
        time=_time(reader) if name == "slurm" or reader.has("time") else "",
        account=worded(reader, "account", LAUNCHER["account"]),
        qos=worded(reader, "qos", LAUNCHER["qos"]),
        constraint=worded(reader, "constraint", LAUNCHER["constraint"]),
        nodelist=tuple(filter(None, worded(reader, "nodelist", LAUNCHER["nodelist"]).split(","))),
        mem=worded(reader, "mem", LAUNCHER["mem"]),
        cpus=reader.number("cpus", default=0, low=1, high=4096),
        gpus=reader.number("gpus", default=0, low=1, high=64),
        port=reader.number("port", default=0, low=1024, high=65535),
        shm=worded(reader, "shm", LAUNCHER["shm"]),
        devices=_devices(reader),
        mpi=reader.choice("mpi", ("pmix",), default=""),
    )
    reader.done()
    return config


def _devices(reader: Reader) -> tuple[int, ...]:
    """The GPUs taken of each node, in order and each once."""
    text = worded(reader, "devices", LAUNCHER["devices"])
    found: list[int] = []
    for piece in filter(None, text.split(",")):
        first, _, last = piece.partition("-")
        found += range(int(first), int(last or first) + 1) or (-1,)  # one that runs backwards is none
    if len(set(found)) != len(found) or found != sorted(found) or -1 in found:
        reader.problem(reader.at("devices"), text, "each GPU once, in order, as 4-7 or 0,2")
        return ()
    return tuple(found)


def _time(reader: Reader) -> str:
    """How long the job may take."""
    time = quoted(reader, "time", TIME_LIMIT)
    if time and not slurm_time_is_valid(time):
        reader.problem(reader.at("time"), repr(time), TIME_LIMIT.wanted)
    return time


def unused(reader: Reader, name: str, used: tuple[str, ...]) -> Iterator[Problem]:
    """A warning for what stands there and a launcher does not use; it does not harm, and another launcher may."""
    ignored = [str(key) for key in reader.data if key not in ("name", *used)]
    if ignored:
        yield Problem(
            level="warning",
            rule="launcher",
            where=reader.path_,
            found=", ".join(ignored),
            wanted=f"what the launcher {name} uses ({', '.join(used)})",
            why="it has no effect",
            fix="leave it out, unless this file is used with another launcher",
        )


def slurm_time_is_valid(text: str) -> bool:
    """Whether `sbatch --time` takes it, and it is more than nothing."""
    if not TIME.fullmatch(text):
        return False
    days, dash, rest = text.rpartition("-")
    fields = [int(field) for field in rest.split(":")]
    hours_fit = not dash or fields[0] < 24
    return hours_fit and all(field < 60 for field in fields[1:]) and (any(fields) or int(days or 0) > 0)
