"""The scan by a real bash on this machine, with processes of several users: what counts, what is noted, what is swept.

`nobody` is the user that the stack runs as, `games` somebody else on the same machine.
"""

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts.connection import Output, Progress, Remote
from hosts.errors import LeftBehind
from hosts.fleet import Fleet, Host, SlurmMode, Storage
from infra.operate import absence
from infra.operate.absence import Scan, scan
from roles import render

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.geteuid() != 0, reason="it starts processes of other users"
)

SHM, TMP = Path("/dev/shm"), Path("/tmp")  # noqa: S108 - it is about what lies in these
PYTHON = "/usr/bin/python3"
"""One that other users may run; this project's own may lie in a folder of root's."""
SEGMENTS = """
import os, sys
from multiprocessing import get_context, resource_tracker, shared_memory
kept = [shared_memory.SharedMemory(create=True, size=1 << 16), get_context("spawn").Semaphore()]
print(resource_tracker._resource_tracker._pid, kept[0].name, "sem." + kept[1]._semlock.name.strip("/"), flush=True)
sys.stdin.read()
"""


def as_user(user: str, *argv: str, stack: str = "") -> list[str]:
    tag = ["env", f"SLIPWAY_STACK={stack}"] if stack else []
    return ["setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups", *tag, *argv]


@contextlib.contextmanager
def process(*argv: str) -> Iterator[subprocess.Popen[str]]:
    """One that runs for as long as the test, or until it is killed."""
    started = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/")
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


@contextlib.contextmanager
def segments(user: str) -> Iterator[tuple[subprocess.Popen[str], int, set[Path]]]:
    """A process with a segment and a semaphore as engines make them, the pid of what would remove them after it, and
    the files."""
    with process(*as_user(user, PYTHON, "-c", SEGMENTS)) as it:
        assert it.stdout is not None
        tracker, *names = it.stdout.readline().split()
        files = {SHM / name for name in names}
        assert files <= shm()
        try:
            yield it, int(tracker), files
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(tracker), signal.SIGKILL)
            for file in files:
                file.unlink(missing_ok=True)


def shm() -> set[Path]:
    return set(SHM.iterdir())


def killed(it: subprocess.Popen[str], tracker: int, _: set[Path]) -> None:
    """As when a job's cgroup ends: all at once, by SIGKILL."""
    os.kill(tracker, signal.SIGKILL)
    it.kill()
    it.wait()


@pytest.fixture
def stack() -> str:
    """A name that nothing on this machine has."""
    return f"t{secrets.token_hex(4)}"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absence, "PATIENCE_S", 0)


def looked(stack: str, slurm: SlurmMode = "none") -> Scan:
    """The scan of a fleet that is this machine; on a site's SLURM it is made as the user `nobody`."""
    theirs = slurm == "existing"
    host = Host(name="here", address="here", user="nobody", role="login", sudo=not theirs)
    fleet = Fleet(name="f", hosts=(host,), slurm=slurm, storage=Storage(path="/nonexistent"))

    def connect(_: str) -> Remote:
        def run(script: str, progress: Progress | None = None) -> Output:  # noqa: ARG001
            argv = as_user("nobody", "bash", "-s") if theirs else ["bash", "-s"]
            done = subprocess.run(argv, input=script.encode(), capture_output=True, check=False, timeout=60, cwd="/")
            out = done.stdout.decode("utf-8", "surrogateescape")
            return Output(stdout=out, stderr=done.stderr.decode(), status=done.returncode)

        return run

    found = scan(fleet, stack, connect)
    assert found.unread == ()
    return found


@pytest.mark.parametrize("slurm", ["none", "existing"])
def test_a_process_of_ours_counts_and_is_named_with_what_ends_it(stack: str, slurm: SlurmMode) -> None:
    serve = 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1], flush=True); input()'
    with process(*as_user("nobody", PYTHON, "-c", serve, "\x1b[31m\nready\tx", stack=stack)) as it:
        assert it.stdout is not None
        port = int(it.stdout.readline())
        found = looked(stack, slurm)
        assert [(f.what, f.subject, f.owner) for f in found.left] == [
            ("processes", f"pid {it.pid}", "nobody"),
            ("ports", f"127.0.0.1:{port}", "nobody"),
        ]
        sudo = "" if slurm == "existing" else "sudo "
        with pytest.raises(
            LeftBehind, match=rf"here: processes: pid {it.pid} of nobody: .*\n *.*: {sudo}kill {it.pid}\n"
        ):
            found.raise_left()
        assert not re.search(r"[\x00-\x1f]", found.left[0].detail)
    assert looked(stack, slurm).left == ()


def test_what_is_ending_has_time_for_it(stack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absence, "PATIENCE_S", 10)
    with process(*as_user("nobody", "sleep", "2", stack=stack)):
        began = time.monotonic()
        assert looked(stack).left == ()
        assert time.monotonic() - began < 8


def test_what_another_user_forges_is_a_note(stack: str) -> None:
    """Tag, title, folder and segment of the stack, with lines in their names that look like findings."""
    line = f"x\nours\tnobody\tpid 1\tinit of {stack}"
    folder, segment = TMP / f"slipway.{stack}.{line}", SHM / f"slipway.{stack}.{line}"
    try:
        subprocess.run(as_user("games", "mkdir", str(folder)), check=True)
        subprocess.run(as_user("games", "touch", str(segment)), check=True)
        with process(*as_user("games", "bash", "-c", f"exec -a $'{line}' sleep 60", stack=stack)) as it:
            found = looked(stack)
        found.raise_left()
        assert [(f.what, f.owner) for f in found.foreign] == [
            ("processes", "games"),
            ("temporary folders", "games"),
            ("shared memory", "games"),
        ]
        said = f"here: pid {it.pid} of games carries this stack's tag; it is not ours, so it does not count"
        assert found.notes()[0] == said
        assert all("\n" not in note and "\t" not in note for note in found.notes())
        assert segment.exists()
    finally:
        folder.rmdir()
        segment.unlink()


def test_many_things_of_another_user_are_named_in_part(stack: str) -> None:
    folders = [TMP / f"slipway.{stack}.{n}" for n in range(40)]
    try:
        subprocess.run(as_user("games", "mkdir", *map(str, folders)), check=True)
        found = looked(stack)
        assert (len(found.left), len(found.foreign)) == (0, 20)
    finally:
        for folder in folders:
            folder.rmdir()


def test_a_temporary_folder_of_ours_goes_once_nothing_runs(stack: str) -> None:
    """A job that was killed did not remove it; while it runs, it has it."""
    folder = TMP / f"slipway.{stack}.a b"
    subprocess.run(as_user("nobody", "mkdir", "-p", str(folder / "c")), check=True)
    with process(*as_user("nobody", "sleep", "60", stack=stack)):
        _, left = looked(stack).left
        assert left.command == f"sudo rm -r -- /tmp/slipway.{stack}.a\\ b"
        assert folder.exists()
    assert looked(stack).left == ()
    assert not folder.exists()


def test_a_folder_that_root_made_is_named(stack: str) -> None:
    folder = TMP / f"slipway.{stack}.root"
    folder.mkdir()
    try:
        assert [(f.subject, f.owner) for f in looked(stack).left] == [(str(folder), "root")]
        found = looked(stack, "existing")
        assert [len(found.left), len(found.foreign)] == [0, 1]
    finally:
        folder.rmdir()


def test_what_killed_engines_left_is_swept_and_nothing_is_left(stack: str) -> None:
    """Also beside another stack of the same user: its semaphore is held under a name that is gone."""
    with segments("nobody") as living, segments("nobody") as ours, segments("games") as theirs:
        killed(*ours)
        killed(*theirs)
        assert ours[2] < shm()
        assert looked(stack).left == ()
        assert ours[2].isdisjoint(shm())
        assert living[2] | theirs[2] <= shm()


def test_the_owners_stop_sweeps_as_the_user_itself() -> None:
    """As the scripts of jobs and units have it in them, without root."""
    script = f"set -euo pipefail\ncleaned() {{\n{render('sweep-shared-memory.sh.j2')}}}\ncleaned\necho done"
    theirs, mine = SHM / f"psm_{secrets.token_hex(8)}", SHM / secrets.token_hex(8)  # a name that no engine gives
    with segments("nobody") as living, segments("nobody") as ended:
        killed(*ended)
        try:
            subprocess.run(as_user("games", "touch", str(theirs)), check=True)
            subprocess.run(as_user("nobody", "touch", str(mine)), check=True)
            argv = as_user("nobody", "bash", "-c", script)
            done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd="/")
            assert (done.stdout, done.stderr) == ("done\n", "")
            assert ended[2].isdisjoint(shm())
            assert living[2] | {theirs, mine} <= shm()
        finally:
            theirs.unlink()
            mine.unlink()


def test_where_nothing_is_free_the_sweep_takes_no_time() -> None:
    began = time.monotonic()
    subprocess.run(["bash", "-c", render("sweep-shared-memory.sh.j2", shm_owner="nobody")], check=True)
    assert time.monotonic() - began < 1.5


def test_an_account_that_only_stacks_use_has_no_names_of_its_own(tmp_path: Path) -> None:
    """What is younger than the stack's claim goes by any name; what was there before stays, and Podman's locks."""
    old, new, lock = ((SHM / f"{name}{secrets.token_hex(4)}") for name in ("old-", "new-", "libpod_lock_"))
    claim = tmp_path / "claim"
    try:
        old.touch()
        os.utime(old, (1, 1))
        claim.touch()
        os.utime(claim, (1000, 1000))
        new.touch()
        lock.touch()
        for path in (old, new, lock):
            os.chown(path, 65534, 65534)
        sweep = render("sweep-shared-memory.sh.j2", shm_owner="nobody", shm_since=str(claim))
        subprocess.run(["bash", "-c", sweep], check=True)
        assert (old.exists(), new.exists(), lock.exists()) == (True, False, True)
    finally:
        for path in (old, new, lock):
            path.unlink(missing_ok=True)


def test_a_user_that_is_not_there_yet_has_left_nothing(stack: str) -> None:
    """A first `up` that failed early: the service user of a cluster of ours was not made."""
    assert looked(stack, "ours").left == ()
