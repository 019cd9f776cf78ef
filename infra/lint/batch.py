"""The launcher of an adopted stack: the one that the command is started by, with what the script asks of SLURM."""

import json
import re
from collections.abc import Iterator, Mapping

from infra.launcher_file import LAUNCHER, slurm_time_is_valid
from infra.launchers import LAUNCHERS
from infra.lint.result import LintedCommand

_KEYS: Mapping[str, str] = {
    "account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "cpus-per-task": "cpus",
    "mem": "mem",
}
"""The keys of `slipway:launcher` by the options of sbatch that they are."""
_FLEETS: Mapping[str, str] = {
    "partition": "the fleet's own is taken; set partition below",
    "nodelist": "the nodes are those of your fleet; set nodelist below",
}
_NO_PLACE = frozenset(
    {"array", "begin", "comment", "dependency", "exclude", "exclusive", "licenses", "mail-type", "mail-user"}
    | {"mem-per-cpu", "mem-per-gpu", "nice", "prefer", "reservation", "signal", "switches", "tmp", "wckey"}
)
"""Options of sbatch that a stack file can't say; nodes, tasks, GPUs, the job's name and its log are Slipway's."""
_TIME = "24:00:00"


def launcher(command: LintedCommand) -> tuple[dict[str, str | int], list[str]]:
    """(what stands under `slipway:launcher`, a note for each `#SBATCH` line that does not)."""
    name = _name(command)
    keys: dict[str, str | int] = {"name": name}
    notes: list[str] = []
    asked = dict(_asked(command))
    if "time" in LAUNCHERS[name].options:
        keys["time"] = asked["time"] if slurm_time_is_valid(asked.get("time", "")) else _TIME
    for option, value in asked.items():
        key = _KEYS.get(option, "")
        said = f"#SBATCH --{option}={value}" if value else f"#SBATCH --{option}"
        read = _read(key, value) if key else None
        if option in _FLEETS:
            notes.append(f"{said}: {_FLEETS[option]}")
        elif option in _NO_PLACE:
            notes.append(f"{said}: a stack file has no place for it")
        elif key and value and key not in LAUNCHERS[name].options:
            notes.append(f"{said}: the launcher {name} does not take it")
        elif key == "cpus" and asked.get("ntasks-per-node", "1") != "1":
            notes.append(f"{said}: of each of several tasks; set cpus below to those of a node")
        elif read is not None:
            keys[key] = read
        elif key and value:
            notes.append(f"{said}: not known to be one; set {key} below")
    return keys, notes


def flow(keys: Mapping[str, str | int]) -> str:
    """The mapping as YAML on one line, texts in quotes."""
    shown = (f"{key}: {value if key == 'name' else json.dumps(value)}" for key, value in keys.items())
    return "{" + ", ".join(shown) + "}"


def _name(command: LintedCommand) -> str:
    words = {word.rpartition("/")[2] for word in command.launch.around.prefix}
    options = command.checked.options if command.checked else ()
    if command.engine == "trtllm" and words & {"mpirun", "mpiexec"}:
        return "mpirun"
    if any(option.name == "--distributed-executor-backend" and option.value == "ray" for option in options):
        return "ray"
    if any(option.name == "--data-parallel-hybrid-lb" for option in options):
        return "systemd"  # each node answers, and a gateway stands before all of them
    return "slurm"


def _asked(command: LintedCommand) -> Iterator[tuple[str, str]]:
    """The options of the script's `#SBATCH` lines; one without a value took the next option for it."""
    for option, value in command.launch.around.directives.items():
        yield option, "" if value.startswith("--") else value


def _read(key: str, value: str) -> str | int | None:
    """The value as a stack file has it, None where it could not stand there."""
    if key == "cpus":
        return int(value) if re.fullmatch(r"[1-9][0-9]{0,3}", value) else None
    return value if value and re.fullmatch(LAUNCHER[key].pattern, value) else None
