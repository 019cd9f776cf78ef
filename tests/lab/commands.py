"""The user's two command lines against the lab, and what a test does to a node without them."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hosts import fleet
from lab import nodes
from tools import activation
from tools.places import ROOT, STACKS

UP = ("pulumi", "up", "--yes", "--skip-preview", "--non-interactive")


class Run:
    """The user's two command lines, in an activated shell's environment with a backend of its own."""

    def __init__(self, backend: Path) -> None:
        self.environment = activation.environment(
            os.environ
            | {
                "PULUMI_BACKEND_URL": f"file://{backend}",
                "PULUMI_HOME": str(backend.parent / "home"),
                "PULUMI_CONFIG_PASSPHRASE": activation.DEFAULT_PASSPHRASE,
                "XDG_CONFIG_HOME": str(backend.parent / "config"),
            }
        )

    def __call__(self, *words: str, status: int = 0) -> str:
        """Runs a command to its end; both streams as one text. Asserts its exit status and no traceback."""
        found, shown = self.attempt(*words)
        assert found == status, shown
        return shown

    def attempt(self, *words: str) -> tuple[int, str]:
        """Runs a command to its end: its exit status, and both streams as one text. Asserts no traceback."""
        done = subprocess.run(
            words,
            check=False,
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=800,
        )
        assert "Traceback (most" not in done.stdout, done.stdout
        return done.returncode, done.stdout

    def json(self, *words: str) -> dict[str, object]:
        """Standard output of a command with --json: one document and nothing else."""
        done = subprocess.run(
            [*words, "--json"],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        document: dict[str, object] = json.loads(done.stdout)
        return document

    def up(self, stack: str, status: int = 0) -> str:
        """`pulumi up` without its preview."""
        return self(*UP, "-s", stack, status=status)

    def killed_up(self, stack: str, when: Callable[[], bool], how: signal.Signals, *, group: bool = False) -> float:
        """An `up` that gets a signal as soon as `when` holds; a lock that it leaves is cleared as Pulumi says.

        With `group` its children get the signal as well, as they do from a terminal. Returns the seconds from the
        signal to its end.
        """
        process = subprocess.Popen(
            [*UP, "-s", stack],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        while not when():
            if process.poll() is not None:
                pytest.fail(f"`up` ended before the kill: {process.communicate()[0].decode()}")
            time.sleep(0.05)
        (os.killpg if group else os.kill)(process.pid, how)
        began = time.monotonic()
        process.communicate(timeout=120)
        took_s = time.monotonic() - began
        if how is signal.SIGKILL:
            self("pulumi", "cancel", "--yes", "-s", stack)
        return took_s


def on(node: str, command: str, status: int | None = 0) -> str:
    """A shell command on a node, not over SSH."""
    done = nodes.exec(node, ["bash", "-c", command])
    assert status is None or done.returncode == status, f"{command}: {done.stdout}{done.stderr}"
    return str(done.stdout).strip()


@contextmanager
def fresh(count: int, folder: Path) -> Iterator[Run]:
    """The commands, on a lab of `count` fresh machines; an environment that storage has already is kept."""
    if os.getuid() != 0:
        pytest.skip("the lab needs root")
    nodes.down()
    storage = Path(fleet.load("lab").identity).expanduser().parent / "storage"
    shutil.rmtree(storage / ".slipway", ignore_errors=True)
    nodes.up(count)
    (folder / "backend").mkdir()
    yield Run(folder / "backend")


@contextmanager
def copied(run: Run, stack: str, name: str, *changes: tuple[str, str]) -> Iterator[Path]:
    """The file of a new stack, copied from a shipped one with some of its text changed; gone at the end."""
    file = STACKS / f"Pulumi.{name}.yaml"
    text = (STACKS / f"Pulumi.{stack}.yaml").read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    file.write_text(text)
    try:
        run("pulumi", "stack", "init", name)
        yield file
    finally:
        file.unlink()


def change(file: Path, old: str, new: str) -> None:
    """Edits a stack file as a user would."""
    text = file.read_text()
    assert old in text, old
    file.write_text(text.replace(old, new))


def until(holds: Callable[[], bool], timeout_s: float) -> float:
    """Waits for something, and says how long it took. Fails the test where it does not come."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < timeout_s, f"not within {timeout_s} s"
        time.sleep(0.5)
    return time.monotonic() - began
