"""The language host under the real CLI: a program runs, fails and is cancelled as under Pulumi's own host."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tools import activation, pulumi_cli

pytestmark = [
    pytest.mark.pulumi,
    pytest.mark.skipif(pulumi_cli.folder() is None, reason="the user's own CLI brings Pulumi's own language host"),
]

PROGRAM = """\
import os, sys, time
import pulumi
mode = open("mode").read()
print("mode is", mode, flush=True)
def fail():
    raise ValueError("no such fleet")
if mode == "sleep":
    open("pid", "w").write(str(os.getpid()))
    time.sleep(60)
if mode == "raise":
    fail()
if mode == "refuse":
    raise pulumi.RunError("tensor 3 @ $.parallelism.tensor")
pulumi.export("preview", pulumi.runtime.is_dry_run())
pulumi.export("stack", pulumi.get_stack())
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("state", "home", "infra"):
        (tmp_path / name).mkdir()
    (tmp_path / "Pulumi.yaml").write_text("name: throwaway\nruntime: python\nmain: infra\noptions: {refresh: always}\n")
    (tmp_path / "infra" / "__main__.py").write_text(PROGRAM)
    pulumi(tmp_path, "ok", "stack", "init", "lab")
    return tmp_path


def start(project: Path, mode: str, *arguments: str) -> subprocess.Popen[str]:
    (project / "infra" / "mode").write_text(mode)
    own = {"PULUMI_BACKEND_URL": f"file://{project}/state", "PULUMI_HOME": str(project / "home")}
    env = activation.environment({**os.environ, **own})
    argv = ["pulumi", *arguments, "--non-interactive", "--color=never"]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, cwd=project, env=env, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def pulumi(project: Path, mode: str, *arguments: str) -> tuple[int, str]:
    child = start(project, mode, *arguments)
    output, _ = child.communicate(timeout=60)
    return child.returncode, output


@pytest.fixture
def sleeper(project: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A CLI whose program sleeps, and the process id of the language host that runs it."""
    child = start(project, "sleep", "up", "--yes", "--skip-preview")
    pid = project / "infra" / "pid"
    with child:
        wait_until(lambda: pid.exists() and pid.read_text() != "")
        yield child, int(pid.read_text())
        child.kill()


def test_up_runs_the_program_and_warns_of_nothing(project: Path) -> None:
    status, output = pulumi(project, "ok", "up", "--yes", "--skip-preview")
    assert status == 0, output
    assert "mode is ok" in output
    assert "warning" not in output
    assert pulumi(project, "ok", "stack", "output", "--json") == (0, '{\n  "preview": false,\n  "stack": "lab"\n}\n')
    status, output = pulumi(project, "ok", "preview", "--expect-no-changes")
    assert "warning" not in output


@pytest.mark.parametrize(
    ("mode", "error", "lines"),
    [
        ("raise", "ValueError: no such fleet", 'infra/__main__.py", line 6, in fail'),
        ("refuse", "tensor 3 @ $.", "error: "),
    ],
)
def test_an_error_is_told_once_without_our_own_lines(project: Path, mode: str, error: str, lines: str) -> None:
    status, output = pulumi(project, mode, "preview")
    details = output[output.index("Diagnostics:") :]
    assert status != 0
    assert details.count(error) == 1
    assert lines in details
    assert "runpy" not in details
    assert "language_host" not in details


def test_sigint_cancels_at_once_without_a_traceback(sleeper: tuple[subprocess.Popen[str], int]) -> None:
    child, host = sleeper
    child.send_signal(signal.SIGINT)
    output, _ = child.communicate(timeout=10)
    assert child.returncode != 0
    assert "update canceled" in output
    assert "Traceback" not in output
    wait_until(lambda: not is_running(host))


def test_the_host_ends_with_a_killed_cli(sleeper: tuple[subprocess.Popen[str], int]) -> None:
    child, host = sleeper
    child.kill()
    wait_until(lambda: not is_running(host))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
