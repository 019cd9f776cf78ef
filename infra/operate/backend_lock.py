"""The lock that a killed Pulumi CLI leaves in a file backend: removed only where its process is known to be dead."""

import json
from collections.abc import Callable
from pathlib import Path

from infra.controller import PROJECT


def clear(url: str, stack: str, *, hostname: str, alive: Callable[[int], bool]) -> list[int]:
    """Removes the stack's locks of dead processes of this machine, and returns their ids; any other lock stays.

    `url` is the backend's; only a folder (`file://`) keeps its locks where we can look at them.
    """
    if not url.startswith("file://"):
        return []
    folder = Path(url.removeprefix("file://")).expanduser() / ".pulumi" / "locks" / "organization" / PROJECT / stack
    cleared = []
    for path in sorted(folder.glob("*.json")):
        try:
            lock = json.loads(path.read_text(encoding="utf-8"))
            process = int(lock["pid"])
            dead = lock["hostname"] == hostname and not alive(process)
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if dead:
            path.unlink(missing_ok=True)
            path.with_name(f"{path.name}.attrs").unlink(missing_ok=True)
            cleared.append(process)
    return cleared
