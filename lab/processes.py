"""A process known by its number and its start time, so that a reused number is never taken for it."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of this boot; `started` is in clock ticks since boot (proc(5), stat, field 22)."""

    pid: int
    started: int

    def alive(self) -> bool:
        """Whether it still runs; one that only waits to be reaped does not."""
        found = stat(self.pid)
        return found is not None and found[0] not in "ZX" and found[1] == self.started

    def kill(self) -> None:
        """End it at once; nothing happens if it is gone or its number is somebody else's now."""
        try:
            fd = os.pidfd_open(self.pid)
        except OSError:
            return
        try:
            if self.alive():
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            os.close(fd)


def stat(pid: int) -> tuple[str, int] | None:
    """State letter and start time of a process; None if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[19])


def recorded(path: Path) -> Process | None:
    """The process that a `pid start-time` file names; None if the file is absent or was cut short."""
    try:
        pid, started = path.read_text().split()
        return Process(pid=int(pid), started=int(started))
    except (OSError, ValueError):
        return None


def is_init_of_a_node(pid: int) -> bool:
    """Whether a process is number 1 of a process namespace directly below ours."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    numbers = next((line.split()[1:] for line in lines if line.startswith("NSpid:")), [])
    return len(numbers) == 2 and numbers[1] == "1"
