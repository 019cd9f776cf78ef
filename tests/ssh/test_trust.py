"""What other users of a host planted where we work, over a real sshd: refused by name, and left as it is."""

import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts.converge import converge, gather
from hosts.errors import Blocked, SlipwayError, StepFailed
from hosts.remote import Connections
from hosts.resources import Claim, CondaEnv, Directory, File, SecretFile, Weights
from hosts.resources.detached import run_detached
from hosts.state import Resource, Stage

pytestmark = [
    pytest.mark.ssh,
    pytest.mark.skipif(os.getuid() != 0, reason="only root may give a file away"),
]
STRANGER = 65534


@pytest.fixture
def storage() -> Iterator[Path]:
    """As a site's scratch filesystem: everybody may make folders of their own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o1777)
        yield Path(folder)


def stage(*resources: Resource) -> Stage:
    return Stage(name="test", hosts={"a": resources})


def up(connect: Connections, storage: Path, *resources: Resource) -> None:
    converge(stage(*resources), connect, apply=True, lock_dir=f"{storage}/locks").raise_errors()


def as_stranger(*words: str) -> subprocess.CompletedProcess[str]:
    become = ["setpriv", "--reuid", str(STRANGER), "--regid", str(STRANGER), "--clear-groups", "--"]
    return subprocess.run([*become, *words], capture_output=True, text=True, check=False, timeout=60)


def plant(path: Path, text: str = "") -> Path:
    """A file of the stranger's, and its folders."""
    assert as_stranger("mkdir", "-p", str(path.parent)).returncode == 0
    done = as_stranger("bash", "-c", 'printf %s "$2" >"$1" && chmod 0777 "$1"', "-", str(path), text)
    assert done.returncode == 0, done.stderr
    return path


def environment(storage: Path) -> CondaEnv:
    prefix = f"{storage}/envs/e-1"
    return CondaEnv(
        prefix=prefix, digest="d1", packages=(), inputs=f"{prefix}.inputs", tools=f"{storage}/envs/.tools/t"
    )


MARKER = '{"digest": "d1", "conda": 0, "pip": 0}\n'
PLANTED: list[tuple[str, str, str]] = [
    ("the folder of environments", "envs/x", ""),
    ("a prefix with its marker", "envs/e-1/.slipway-environment.json", MARKER),
    ("the tools that root runs", "envs/.tools/t/bin/python", "#!/bin/sh\ntouch OWNED\n"),
    ("the installer", "envs/e-1.inputs/install_env.py", "open('OWNED', 'w')\n"),
]


@pytest.mark.parametrize(("name", "text"), [row[1:] for row in PLANTED], ids=[row[0] for row in PLANTED])
@pytest.mark.parametrize("inside", ["a stranger's", "ours"])
def test_a_planted_environment_is_not_taken_over(
    name: str, text: str, inside: str, storage: Path, connect: Connections
) -> None:
    """Whether the folder around it is the stranger's too, or ours since."""
    planted = plant(storage / name, text.replace("OWNED", f"{storage}/owned"))
    if inside == "ours" and name != "envs/x":
        os.chown(storage / "envs", 0, 0)
    wanted = environment(storage)
    with pytest.raises(Blocked, match=r"is owned by nobody \(mode 0\d+\), wanted root; remove it, give it to root, or"):
        up(connect, storage, Directory(path=wanted.inputs), wanted)
    with pytest.raises(Blocked, match="is owned by nobody"):
        up(connect, storage, wanted)
    assert planted.exists()
    assert not (storage / "owned").exists()
    assert sorted(path.name for path in storage.iterdir()) == ["envs"]


def test_a_marker_of_ours_without_a_verification_proves_nothing(storage: Path, connect: Connections) -> None:
    wanted = environment(storage)
    up(connect, storage, Directory(path=f"{storage}/envs"), Directory(path=wanted.prefix))
    Path(wanted.marker).write_text(MARKER)

    def digest() -> str:
        actual = gather(stage(wanted), connect).seen["a"][wanted.key].actual
        assert isinstance(actual, CondaEnv)
        return actual.digest

    assert digest() == "(not verified)"
    Path(wanted.verified).write_text("d2\n")
    assert digest() == "(not verified)"
    Path(wanted.verified).write_text("d1\n")
    assert digest() == "d1"


def planted_resources(storage: Path) -> dict[str, Resource]:
    """By what the stranger made first: the resource that would use it."""
    folder = f"{storage}/theirs"
    digest = hashlib.sha256(b"known").hexdigest()
    return {
        "theirs/d/x": Directory(path=f"{folder}/d"),
        "theirs/x": Directory(path=folder),
        "theirs/job.sbatch": File(path=f"{folder}/job.sbatch", content="mine"),
        "theirs/api-key": SecretFile(path=f"{folder}/api-key", secret="k", digest=digest),
        "theirs/fleet/s": Claim(folder=folder, artifact="fleet", stack="s", backend="b", holder="h"),
        "theirs/m/config.json": Weights(path=f"{folder}/m", manifest=(), records=f"{storage}/records"),
        "theirs/r.json": Weights(path=f"{storage}/m", manifest=(), records=folder),
    }


@pytest.mark.parametrize("name", planted_resources(Path("/x")))
def test_what_a_stranger_made_first_is_refused(name: str, storage: Path, connect: Connections) -> None:
    planted = plant(storage / name, "known")
    with pytest.raises(Blocked, match=r"is owned by nobody \(mode 0\d+\), wanted root"):
        up(connect, storage, planted_resources(storage)[name])
    assert planted.read_text() == "known"
    assert not (storage / "locks").exists()


def test_in_our_folder_a_strangers_file_is_replaced_and_a_secret_never_adopted(
    storage: Path, connect: Connections
) -> None:
    """A key that is somebody's is known to them; text is as good as its content, once it is ours."""
    ours = storage / "ours"
    ours.mkdir()
    for name in ("text", "key"):
        (ours / name).write_text("x")
        (ours / name).chmod(0o644)
        os.chown(ours / name, STRANGER, 0)
    up(connect, storage, File(path=str(ours / "text"), content="x"))
    assert (ours / "text").stat().st_uid == 0
    with pytest.raises(Blocked, match=r"/key is owned by nobody \(mode 0644\), wanted root or ourselves; remove it"):
        up(connect, storage, SecretFile(path=str(ours / "key"), secret="k"))
    assert (ours / "key").read_text() == "x"


def test_a_link_that_others_can_swap_is_no_path(storage: Path, connect: Connections) -> None:
    """Not even one to a folder of ours."""
    ours = storage / "ours"
    ours.mkdir()
    assert as_stranger("ln", "-s", str(ours), str(storage / "link")).returncode == 0
    with pytest.raises(Blocked, match=r"/link is owned by nobody \(mode 0777\)"):
        up(connect, storage, File(path=f"{storage}/link/f", content="x"))
    assert list(ours.iterdir()) == []
    os.lchown(storage / "link", 0, 0)
    up(connect, storage, File(path=f"{storage}/link/f", content="x"))
    assert (ours / "f").read_text() == "x"


def test_a_folder_that_its_group_may_write_to_is_named(storage: Path, connect: Connections) -> None:
    """As of a project: its members could rename what is below; with a sticky bit they can't."""
    project = storage / "project"
    (project / "eva").mkdir(parents=True)
    os.chown(project, 0, 1)
    project.chmod(0o2770)
    file = File(path=f"{project}/eva/f", content="x")
    with pytest.raises(Blocked, match=r"/project is writable by the group daemon \(mode 2770\), whose members could"):
        up(connect, storage, file)
    project.chmod(0o3770)
    up(connect, storage, file)


def test_in_the_run_users_folder_root_follows_no_link(storage: Path, connect: Connections) -> None:
    """The folder of a job is the account's that runs it, and that account may swap there what it likes.

    So root works there as that account, and can't write where it couldn't.
    """
    target = storage / "target"
    target.write_text("root's")
    target.chmod(0o600)
    job = storage / "job"
    folder = Directory(path=str(job), mode="0750", owner="nobody", group="nogroup", purge=True)
    up(connect, storage, folder)
    for name in ("script", "script.slipway-new", "api-key"):
        (job / name).symlink_to(target)
    script = File(path=f"{job}/script", content="new", owner="nobody", group="nogroup")
    key = SecretFile(path=f"{job}/api-key", secret="k", owner="nobody", group="nogroup")
    inner = Directory(path=f"{job}/n1", mode="0750", owner="nobody", group="nogroup")
    up(connect, storage, folder, script, key, inner)
    assert (target.read_text(), target.stat().st_mode & 0o777, target.stat().st_uid) == ("root's", 0o600, 0)
    assert not any((job / name).is_symlink() for name in ("script", "api-key"))
    assert {path.stat().st_uid for path in (job, *job.iterdir())} >= {STRANGER}
    assert len((job / "api-key").read_text()) == 64
    job.chmod(0o500)
    with pytest.raises(StepFailed, match="Permission denied"):
        up(connect, storage, File(path=f"{job}/more", content="x", owner="nobody", group="nogroup"))


def test_a_lock_that_a_stranger_prepared_is_refused(storage: Path, connect: Connections) -> None:
    """A link in the lock's place is not written through, and a folder that is theirs not used."""
    target = storage / "target"
    target.write_text("kept")
    plant(storage / "locks" / "x")
    assert as_stranger("ln", "-s", str(target), f"{storage}/locks/slipway.lock").returncode == 0
    with pytest.raises(Blocked, match=r"a: the folder of the host's lock: .*/locks is owned by nobody"):
        up(connect, storage, File(path=f"{storage}/f", content="x"))
    assert target.read_text() == "kept"
    assert not (storage / "f").exists()


def test_a_stranger_can_neither_hold_nor_read_the_lock(storage: Path, connect: Connections) -> None:
    """Nor the one of long work; a `flock` of theirs would stop every apply, and be waited for."""
    up(connect, storage, File(path=f"{storage}/f", content="x"))
    lock = f"{storage}/locks/slipway.lock"
    assert "slipway" in Path(lock).read_text()
    assert as_stranger("cat", lock).returncode == 1
    assert as_stranger("flock", "-n", lock, "true").returncode != 0
    script = run_detached("slipway-test-trust", "sleep 3", f"{storage}/log")
    Path(f"{storage}/log.running").touch(0o644)
    with subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE) as running:
        for _ in range(40):
            if subprocess.run(["flock", "-n", f"{storage}/log.running", "true"], check=False).returncode:
                break
            time.sleep(0.1)
        held = as_stranger("flock", "-s", "-n", f"{storage}/log.running", "true")
        running.communicate(timeout=60)
    assert "Permission denied" in held.stderr
    assert running.returncode == 0


def test_a_model_that_a_stranger_could_alter_is_refused(storage: Path, connect: Connections) -> None:
    """Its code runs with the key in its environment, and after the last look at it."""
    model = storage / "models" / "m"
    model.mkdir(parents=True)
    code = model / "modeling.py"
    code.write_text("pass\n")
    weights = Weights(path=str(model), manifest=(), records=f"{storage}/records")

    def why() -> str:
        return gather(stage(weights), connect).seen["a"][weights.key].unknown

    assert why() == ""
    code.chmod(0o666)
    assert why() == f"{code} is writable by others (mode 0666); run chmod go-w"
    code.chmod(0o644)
    os.chown(code, STRANGER, 0)
    assert why() == f"{code} is owned by nobody (mode 0644), wanted root; change its owner"
    with pytest.raises(SlipwayError, match="is owned by nobody"):
        up(connect, storage, weights)
    code.rename(plant(storage / "theirs" / "x").parent.parent / "theirs" / "modeling.py")
    code.symlink_to(storage / "theirs" / "modeling.py")
    os.chown(storage / "theirs" / "modeling.py", 0, 0)
    assert why().startswith(f"{storage}/theirs is owned by nobody")
