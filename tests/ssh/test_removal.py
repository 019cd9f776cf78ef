"""What carries a stack's name on a host goes, whoever started it, and nothing else does; over a real sshd."""

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hosts.converge import converge, gather
from hosts.errors import Blocked, StepFailed
from hosts.fleet import Fleet, Storage
from hosts.remote import Connections
from hosts.resources.detached import Detached, run_detached
from hosts.resources.remains import TemporaryFolders
from hosts.state import Stage
from infra.operate.absence import scan
from infra.operate.removal import remove
from tests.sshd import Sshd

pytestmark = pytest.mark.ssh

OURS = "backend=b\nholder=me\n"


@pytest.fixture
def fleet(sshd: Sshd, tmp_path: Path) -> Fleet:
    """A site of one host, whose state lies on storage."""
    return replace(sshd.fleet(sshd.host("a")), slurm="existing", storage=Storage(path=str(tmp_path)))


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def claim(folder: Path, artifact: str, stack: str = "st", text: str = OURS) -> Path:
    return write(folder / ".slipway" / "claims" / artifact / stack, text)


def run(fleet: Fleet, connect: Connections, stack: str = "st") -> list[str]:
    """Removes the stack; what it said."""
    said: list[str] = []
    locks = f"{fleet.storage.path}/.slipway"
    remove(fleet, stack, connect, backend="b", holder="me", lock_dir=locks, say=lambda _, line: said.append(line))
    return said


def test_all_that_has_the_name_goes(fleet: Fleet, connect: Connections, tmp_path: Path) -> None:
    """The folder with its key, claims of every kind, temporary folders; other stacks keep theirs, also what is shared
    and a name that begins alike. A second run has nothing to do."""
    gone = [claim(tmp_path, artifact) for artifact in ("fleet", "env-e-1", "model-m", "gpu-0")]
    gone.append(write(tmp_path / ".slipway" / "st" / "api-key"))
    stays = [
        claim(tmp_path, "env-e-1", "other"),
        claim(tmp_path, "fleet", "st2"),
        write(tmp_path / "envs" / "e-1" / "f"),
    ]
    stays.append(write(tmp_path / ".slipway" / "st2" / "api-key"))
    temporary = Path(f"/tmp/slipway.st.{os.getpid()}")  # noqa: S108
    write(temporary / "key")
    run(fleet, connect)
    assert not any(path.exists() for path in (*gone, temporary))
    assert all(path.exists() for path in stays)
    assert scan(fleet, "st", connect).left == ()
    run(fleet, connect)
    assert all(path.exists() for path in stays)


def test_a_stack_of_another_backend_is_left_alone(fleet: Fleet, connect: Connections, tmp_path: Path) -> None:
    """One claim of another backend is enough: nothing of that name is touched."""
    paths = [claim(tmp_path, "fleet"), claim(tmp_path, "env-e-1", text="backend=c\nholder=eva@desk\n")]
    paths.append(write(tmp_path / ".slipway" / "st" / "api-key"))
    with pytest.raises(Blocked, match="claimed from another Pulumi backend by eva@desk"):
        run(fleet, connect)
    assert all(path.exists() for path in paths)


def test_a_job_that_may_run_keeps_its_folder(fleet: Fleet, connect: Connections, tmp_path: Path) -> None:
    """An intent was written, and the queue can't be asked: whether a job runs is not known, so nothing goes."""
    intent = write(tmp_path / ".slipway" / "st" / "intent", "token 7\n")
    held = claim(tmp_path, "fleet")
    with pytest.raises(Blocked, match="squeue failed"):
        run(fleet, connect)
    assert intent.exists()
    assert held.exists()


def test_temporary_folders_of_others_stay(connect: Connections, tmp_path: Path) -> None:
    """A folder of that name that another user made, and a link, are none of ours."""
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    mine, theirs, link = (Path(f"/tmp/slipway.st.{os.getpid()}.{name}") for name in ("mine", "theirs", "link"))  # noqa: S108
    target = write(tmp_path / "kept")
    try:
        mine.mkdir()
        theirs.mkdir()
        os.chown(theirs, 65534, 65534)
        link.symlink_to(tmp_path)
        stage = Stage(name="t", hosts={"a": (TemporaryFolders(stack="st"),)})
        converge(stage, connect, apply=True, absent=True, lock_dir=str(tmp_path / "l")).raise_errors()
        assert (mine.exists(), theirs.exists(), link.is_symlink(), target.exists()) == (False, True, True, True)
    finally:
        theirs.rmdir()
        link.unlink()


# --- detached work -------------------------------------------------------------------------------------------------


@pytest.fixture
def work(connect: Connections, tmp_path: Path) -> Iterator[Path]:
    """Work that the stack `st` started and `other` claims as well, and that would take a minute; its log."""
    log = write(tmp_path / "log", "")
    own = claim(tmp_path, "env-e-1")
    claim(tmp_path, "env-e-1", "other")
    script = run_detached("slipway-test-work", "env -u SLIPWAY_STACK -u SLIPWAY_CLAIM sleep 60", str(log), str(own))
    connect("a")(f"({script}) & sleep 1; kill $!")
    yield log
    converge(ending("st"), connect, apply=True, absent=True, lock_dir=str(tmp_path / "l"))


def ending(stack: str) -> Stage:
    return Stage(name="t", hosts={"a": (Detached(stack=stack),)})


def runs(log: Path) -> bool:
    return subprocess.run(["flock", "-n", f"{log}.running", "true"], check=False).returncode != 0


def test_work_that_another_stack_claims_goes_on(fleet: Fleet, connect: Connections, work: Path, tmp_path: Path) -> None:
    """It is ended with the last stack that claims what it makes, whichever started it, and what it has started with it;
    until then the scan of the first stack does not count it."""
    assert runs(work)
    for stack in ("st", "other", "nobody"):
        assert gather(ending(stack), connect).seen["a"][f"detached:{stack}"].actual is None
    assert "processes" not in {found.what for found in scan(fleet, "st", connect).left}
    claim(tmp_path, "env-e-1").unlink()
    converge(ending("other"), connect, apply=True, absent=True, lock_dir=str(tmp_path / "l")).raise_errors()
    assert not runs(work)


def test_work_is_ended_with_its_stack(fleet: Fleet, connect: Connections, work: Path, tmp_path: Path) -> None:
    claim(tmp_path, "env-e-1", "other").unlink()
    assert "processes" in {found.what for found in scan(fleet, "st", connect).left}
    began = time.monotonic()
    run(fleet, connect)
    assert time.monotonic() - began < 10
    assert not runs(work)
    assert not list((tmp_path / ".slipway" / "claims").glob("*/*"))


def test_who_follows_work_that_is_ended_is_told(connect: Connections, work: Path, tmp_path: Path) -> None:
    """The other waiting run fails at once, and says that the next one goes on."""
    follower = subprocess.Popen(
        ["bash", "-c", run_detached("slipway-test-work", "sleep 60", str(work))],
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(1)
    claim(tmp_path, "env-e-1", "other").unlink()
    converge(ending("st"), connect, apply=True, absent=True, lock_dir=str(tmp_path / "l")).raise_errors()
    out, _ = follower.communicate(timeout=10)
    assert follower.returncode == 1
    assert "ended from outside; the next run goes on from there" in out


def test_a_step_that_fails_names_itself(fleet: Fleet, connect: Connections, tmp_path: Path) -> None:
    """A claim that can't be removed: the error is the step's."""
    if os.getuid() != 0:
        pytest.skip("only root can make a file immutable")
    held = claim(tmp_path, "fleet")
    if subprocess.run(["chattr", "+i", str(held)], capture_output=True, check=False).returncode:
        pytest.skip("this filesystem knows no immutable files")
    try:
        with pytest.raises(StepFailed, match="claim:fleet"):
            run(fleet, connect)
    finally:
        subprocess.run(["chattr", "-i", str(held)], check=True)
