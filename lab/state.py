"""What `lab.down` must undo on this machine, kept in /run so that a reboot forgets it with the things themselves."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import host, paths


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One record a lab; written before anything is changed."""

    boot_id: str
    cache: str
    """The cache this lab runs from: there is one lab a machine, whoever's cache it uses."""
    ip_forward: str
    """What /proc/sys/net/ipv4/ip_forward said before the lab."""
    going_down: bool = False
    """Set first thing by `lab.down`; a run that finds it finishes that work before its own."""


def load() -> State | None:
    """The state of this boot's lab, or None; what an earlier boot left is forgotten."""
    try:
        found = State(**json.loads(file().read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.boot_id == host.boot_id() else None


def save(state: State) -> None:
    file().parent.mkdir(parents=True, exist_ok=True)
    new = file().with_suffix(".new")
    new.write_text(json.dumps(asdict(state), indent=2) + "\n")
    new.replace(file())


def file() -> Path:
    return paths.run() / "lab.json"
