"""One lab command at a time on this machine: a lock file that its last holder may delete."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabRefused
from lab.progress import Say

WAIT_S = 900.0


@contextmanager
def held(path: Path, say: Say) -> Iterator[None]:
    """Hold the lock at `path`; while another process does, wait up to 15 minutes and say who it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline, told = time.monotonic() + WAIT_S, False
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.fstat(fd).st_ino == path.stat().st_ino:  # else it was deleted before we got it
                break
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode().strip() or "unknown"
            if time.monotonic() > deadline:
                raise LabRefused(
                    f"{path}: held by process {holder} for over {WAIT_S:.0f} s; wait for it or end it"
                ) from None
            if not told:
                say(f"waiting for the lab command that runs already (process {holder})")
                told = True
        os.close(fd)
        time.sleep(0.2)
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(fd)
