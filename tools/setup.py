"""`make setup`: all that Slipway needs on this machine, slow parts side by side; what is there is left alone."""

import argparse
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import FrameType
from typing import Any

from tools import activation, pulumi_cli, stacks, system, venv
from tools.places import PYTHON, ROOT, cache
from tools.progress import Progress, SetupFailed, Stopped, Words, complain

LAB = ROOT / "lab" / "prepare.py"
LAB_IS_DONE = "import sys, lab.prepare; sys.exit(0 if lab.prepare.is_done() else 1)"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tools.setup", description=__doc__)
    parser.add_argument(
        "--no-lab", action="store_true", help="leave out what only the lab needs (it needs root and Linux)"
    )
    parser.add_argument(
        "--tests", action="store_true", help="also what only the tests need: an sshd, installed by root only"
    )
    options = parser.parse_args(arguments)
    root = os.geteuid() == 0
    lab = root and sys.platform == "linux" and not options.no_lab and LAB.exists()
    tests = root and options.tests
    progress = Progress(logs=cache() / "logs")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        system.require_python()
        if undone(lab=lab, tests=tests):
            with only_one(progress):
                do(undone(lab=lab, tests=tests), progress)
            print(f"setup: done in {progress.elapsed_s:.0f} s; next: . .venv/bin/activate", flush=True)
        else:
            print(f"setup: nothing to do, everything is there ({progress.elapsed_s:.1f} s)", flush=True)
    except SetupFailed as failure:
        complain(f"\n{failure}")
        return 1
    except OSError as failure:
        complain(f"\nsetup: {failure}\n  what to do: see that you may write there and that the disk has room")
        return 1
    except (KeyboardInterrupt, Stopped):
        complain("\nsetup: stopped; what is done is kept, and the next `make setup` goes on from there")
        return 130
    return 0


def undone(*, lab: bool, tests: bool) -> Collection[str]:
    """The parts that have something to do; the last two can only be asked when the others are there."""
    done = {
        "tests": not tests or not system.missing(system.NEEDED_BY_TESTS),
        "system": not system.missing(system.NEEDED),
        "venv": venv.is_done(),
        "cli": pulumi_cli.is_done(),
        "activate": activation.is_done(),
    }
    ready = done["venv"] and done["cli"] and done["activate"]
    done["lab"] = not lab or (done["venv"] and lab_is_done())
    # A backend of the user's own may be far away and ask for a login: `python -m tools.stacks` makes the stacks there.
    env = activation.environment(os.environ)
    own = env["PULUMI_BACKEND_URL"] != activation.default_backend()
    done["stacks"] = own or (ready and not stacks.unready(env))
    return [name for name, is_done in done.items() if not is_done]


def do(parts: Collection[str], progress: Progress) -> None:
    """Does them; a failure stops the rest, but the lab's: all else is of use without it."""
    packages = [
        *(system.missing(system.NEEDED) if "system" in parts else ()),
        *(system.missing(system.NEEDED_BY_TESTS) if "tests" in parts else ()),
    ]
    if packages:
        system.install(packages, progress)
    with ThreadPoolExecutor() as pool:
        python = pool.submit(python_side, parts, progress)
        cli = [pool.submit(pulumi_cli.obtain, progress)] if "cli" in parts else []
        join([python, *cli], progress)
    if "activate" in parts or "venv" in parts:
        activation.write()
        progress.say("activate", f"wrote {activation.ACTIVATE}")
    if "stacks" in parts:
        made = stacks.ensure(activation.environment(os.environ))
        progress.say("stacks", f"made ready: {', '.join(made)}" if made else "all there")
    if failure := python.result():
        raise failure


def python_side(parts: Collection[str], progress: Progress) -> SetupFailed | None:
    """The environment, and what runs in it: the lab's preparations, whose failure is returned."""
    if "venv" in parts:
        venv.make(progress)
        progress.say("venv", "done")
    if "lab" in parts:
        fix = "see the lab's own message; what it has finished is kept, and `make setup` goes on from there"
        argv: Words = [PYTHON, "-m", "lab.prepare"]
        try:
            progress.run("lab", argv, doing="preparing the lab", fix=fix, cwd=ROOT, echo=True)
        except SetupFailed as failure:
            progress.say("lab", "failed; the other parts go on")
            return failure
    return None


def lab_is_done() -> bool:
    return subprocess.run([PYTHON, "-c", LAB_IS_DONE], cwd=ROOT, capture_output=True, check=False).returncode == 0


def join(jobs: Collection[Future[Any]], progress: Progress) -> None:
    """Waits for all; when one fails, or the user stops us, ends the others and raises what came first."""
    try:
        done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
    except KeyboardInterrupt:
        progress.stop()
        raise
    failures = [failure for job in done if (failure := job.exception())]
    if failures:
        progress.stop()
        raise failures[0]


@contextmanager
def only_one(progress: Progress) -> Iterator[None]:
    """Holds a lock on the cache, which all work trees of this user share; the kernel drops it with the process."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "setup.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            progress.say("setup", f"waiting for another `make setup` (process {lock.read().strip()}) to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
