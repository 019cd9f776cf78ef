"""What an `up` that failed or was interrupted leaves, and that a destroy takes it away; over the real CLI and sshd."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hosts.resources import Claim, CondaEnv, Directory, File, SecretFile
from hosts.state import Resource, to_wire
from tests.pulumi.conftest import Project, fleet_of
from tests.sshd import Sshd

pytestmark = [pytest.mark.pulumi, pytest.mark.ssh, pytest.mark.timeout(300)]

ENDLESS = "import time\nwhile True:\n    print('phase: installing', flush=True)\n    time.sleep(0.2)\n"
STACK = "s"


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    folder = tmp_path / "storage"
    folder.mkdir()
    return folder


@pytest.fixture
def fleet(sshd: Sshd, storage: Path) -> dict[str, Any]:
    """A site: its claims lie on storage, and this user is the one that acts there."""
    return {**fleet_of(sshd.host("a"), identity=sshd.identity), "slurm": "existing", "storage": str(storage)}


def claim(storage: Path, artifact: str, stack: str = STACK) -> Claim:
    return Claim(folder=f"{storage}/.slipway/claims", artifact=artifact, stack=stack, backend="b", holder="me")


def stage(name: str, *resources: Resource, **options: bool) -> dict[str, Any]:
    return {"name": name, "hosts": {"a": [to_wire(r) for r in resources]}, **options}


def claims(storage: Path) -> list[str]:
    """All that is claimed, as `ARTIFACT/STACK`."""
    folder = storage / ".slipway" / "claims"
    return sorted(str(path.relative_to(folder)) for path in folder.glob("*/*"))


def tagged(tag: str) -> list[int]:
    """The processes that carry a tag in their environment."""
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            words = file.read_bytes().split(b"\0")
        except OSError:
            continue
        if tag.encode() in words:
            found.append(int(file.parent.name))
    return found


def wait(for_what: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not for_what():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_claim_of_a_stage_that_failed_goes_with_the_stack(
    project: Project, fleet: dict[str, Any], storage: Path
) -> None:
    """The environment fails after its claim: the stage is in no state, and a destroy lets go of the claim."""
    bad = File(path=f"{storage}/missing/lock", content="x")
    project.want(
        fleet,
        stage("claim", claim(storage, "fleet")),
        stage("environment", claim(storage, "env-e-1"), bad, keep=True, lock=False),
    )
    assert "No such file" in project.run("up", "--yes", "--skip-preview", status=1)
    assert claims(storage) == ["env-e-1/s", "fleet/s"]
    other = Path(claim(storage, "env-e-1", "other").path)
    other.write_text("backend=b\nholder=eva\n")
    project.run("destroy", "--yes", "--skip-preview")
    assert claims(storage) == ["env-e-1/other"]


def test_a_folder_of_a_launch_that_failed_goes_with_the_stack(
    project: Project, fleet: dict[str, Any], storage: Path
) -> None:
    """The launch fails after it wrote the key: a destroy removes the folder with it, and a second one finds nothing."""
    folder = storage / ".slipway" / STACK
    launch = (
        Directory(path=str(folder), mode="0750", purge=True),
        SecretFile(path=f"{folder}/api-key", secret="api-key"),
        File(path=f"{folder}/missing/job.sbatch", content="x"),
    )
    project.want(fleet, stage("claim", claim(storage, "fleet")), stage("launch", *launch))
    project.run("up", "--yes", "--skip-preview", status=1)
    assert (folder / "api-key").exists()
    project.run("destroy", "--yes", "--skip-preview")
    assert not folder.exists()
    assert claims(storage) == []
    project.run("destroy", "--yes", "--skip-preview")


def test_ctrl_c_leaves_detached_work_that_a_destroy_ends(
    project: Project, fleet: dict[str, Any], storage: Path
) -> None:
    """SIGINT while an installer runs: the CLI returns within two seconds, the installer goes on with the stack's tag,
    the next `up` joins it, and a destroy ends it; what another stack claims as well goes on."""
    prefix, own = f"{storage}/envs/e-1", claim(storage, "env-e-1")
    installed = CondaEnv(
        prefix=prefix, digest="1", packages=(), inputs=f"{prefix}.inputs", tools="/nowhere", claim=own.path
    )
    made = (
        own,
        Directory(path=f"{storage}/envs"),
        Directory(path=installed.inputs),
        File(path=f"{installed.inputs}/install_env.py", content=ENDLESS),
        installed,
    )
    project.want(fleet, stage("claim", claim(storage, "fleet")), stage("environment", *made, keep=True, lock=False))

    def interrupted() -> float:
        """Seconds from SIGINT to the end of an `up` that has shown the installer's progress."""
        process = subprocess.Popen(
            project.command("up", "--yes", "--skip-preview"),
            env=project.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
        assert process.stdout is not None
        shown = ""
        while "phase: installing" not in shown:
            line = process.stdout.readline()
            assert line, shown
            shown += line
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        rest, _ = process.communicate(timeout=60)
        assert process.returncode != 0
        assert "what runs there goes on" in rest
        return time.monotonic() - began

    try:
        seconds = interrupted()
        assert seconds < 2, seconds
        first = tagged(f"SLIPWAY_STACK={STACK}")
        assert first
        interrupted()
        assert tagged(f"SLIPWAY_STACK={STACK}") == first
        other = Path(claim(storage, "env-e-1", "other").path)
        other.write_text("backend=b\nholder=eva\n")
        project.run("destroy", "--yes", "--skip-preview")
        assert tagged(f"SLIPWAY_STACK={STACK}") == first
        assert claims(storage) == ["env-e-1/other"]
        other.unlink()
        interrupted()
        project.run("destroy", "--yes", "--skip-preview")
        wait(lambda: not tagged(f"SLIPWAY_STACK={STACK}"), 5)
        assert claims(storage) == []
    finally:
        for pid in tagged(f"SLIPWAY_CLAIM={own.path}"):
            os.kill(pid, signal.SIGKILL)
