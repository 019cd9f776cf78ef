"""Commands on this machine."""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.errors import LabFailed

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The command dies with the process that runs us: a killed `lab.up` leaves nothing that still writes.
TIED = ("setpriv", "--pdeathsig", "KILL", "--")

UMASK = 0o022  # a stricter one of the caller's would end up in the nodes' image


def environment() -> dict[str, str]:
    """Ours without what makes package scripts behave differently from person to person."""
    kept = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy") or name == "HOME"}
    return {**kept, "PATH": PATH, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


def run(argv: Sequence[str | Path], *, input: str | None = None, check: bool = True) -> str:  # noqa: A002 - as subprocess
    """Standard output of a command; LabFailed with its last ten lines if it exits non-zero and `check` is set."""
    words = [str(word) for word in argv]
    done = subprocess.run(
        words, input=input, capture_output=True, text=True, env=environment(), cwd="/", umask=UMASK, check=False
    )
    if check and done.returncode:
        raise failure(words, done.returncode, done.stdout + done.stderr)
    return done.stdout


def follow(argv: Sequence[str | Path], line: Callable[[str], None]) -> None:
    """Run a long command that dies with us, and hand each line of its output to `line`."""
    words, seen = [*TIED, *(str(word) for word in argv)], list[str]()
    with subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
        cwd="/",
        umask=UMASK,
    ) as process:
        assert process.stdout
        for text in process.stdout:
            seen = [*seen[-30:], text.rstrip()]
            line(text.rstrip())
    if process.returncode:
        raise failure(words[len(TIED) :], process.returncode, "\n".join(seen))


def failure(words: Sequence[str], code: int, output: str) -> LabFailed:
    tail = "\n".join(f"    {line}" for line in output.strip().splitlines()[-10:])
    return LabFailed(f"on this machine `{' '.join(words)[:300]}` ended with {code}:\n{tail}")


def which(program: str) -> str | None:
    return shutil.which(program, path=PATH)


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def systemd_is_init() -> bool:
    """Whether PID 1 here is systemd, which then owns the cgroup tree."""
    return Path("/run/systemd/system").is_dir()
