"""The provider under the real Pulumi CLI, over a real sshd: create, drift, unread hosts, cancel, kill, destroy."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hosts.resources import Directory, File, Requirement
from hosts.state import Resource, to_wire
from tests.pulumi.conftest import Project, fleet_of
from tests.sshd import Sshd

pytestmark = [pytest.mark.pulumi, pytest.mark.ssh, pytest.mark.timeout(300)]


def stage(name: str, *resources: Resource, hosts: tuple[str, ...] = ("a",), **options: bool) -> dict[str, Any]:
    return {"name": name, "hosts": {host: [to_wire(r) for r in resources] for host in hosts}, **options}


def test_life_of_a_stage(project: Project, sshd: Sshd, tmp_path: Path) -> None:
    """Preview, up, no-op, drift shown by field and repaired, a dropped resource taken away, destroy."""
    fleet = fleet_of(sshd.host("a"), identity=sshd.identity)
    first, second = File(path=f"{tmp_path}/first", content="1\n"), File(path=f"{tmp_path}/second", content="2\n")
    project.want(fleet, stage("one", first, second), stage("two", Directory(path=f"{tmp_path}/d")))
    project.run("preview")
    assert not Path(first.path).exists()
    project.run("up", "--yes", "--skip-preview")
    assert Path(first.path).read_text() == "1\n"
    assert "3 unchanged" in project.run("up", "--yes", "--skip-preview")
    Path(first.path).write_text("by hand\n")
    shown = project.run("preview", "--diff")
    assert "first" in shown
    assert "by hand" in shown
    assert f"a: ~ file:{first.path} (content)" in shown
    assert "second" not in shown.replace("file:" + second.path, "", 1) or "~ content" in shown
    project.run("up", "--yes", "--skip-preview")
    assert Path(first.path).read_text() == "1\n"
    project.want(fleet, stage("one", first), stage("two", Directory(path=f"{tmp_path}/d")))
    project.run("up", "--yes", "--skip-preview")
    assert not Path(second.path).exists()
    project.run("destroy", "--yes", "--skip-preview")
    assert not Path(first.path).exists()
    assert not (tmp_path / "d").exists()


def test_another_slurm_is_another_owner(project: Project, sshd: Sshd, tmp_path: Path) -> None:
    """A fleet that gained SLURM under a stack: refused, since what the old owner had would be taken away last."""
    fleet = fleet_of(sshd.host("a"), identity=sshd.identity)
    project.want(fleet, stage("one", File(path=f"{tmp_path}/f", content="1\n")))
    project.run("up", "--yes", "--skip-preview")
    other = {**fleet, "slurm": "existing"}
    project.want(other, stage("one", File(path=f"{tmp_path}/f", content="2\n")))
    assert "first run: invoke teardown" in project.run("up", "--yes", "--skip-preview", status=1)
    assert (tmp_path / "f").read_text() == "1\n"


def test_a_vanished_file_comes_back(project: Project, sshd: Sshd, tmp_path: Path) -> None:
    """What was removed by hand shows as missing and is made again."""
    file = File(path=f"{tmp_path}/f", content="x")
    project.want(fleet_of(sshd.host("a"), identity=sshd.identity), stage("one", file))
    project.run("up", "--yes", "--skip-preview")
    Path(file.path).unlink()
    assert "+ file:" in project.run("preview")
    project.run("up", "--yes", "--skip-preview")
    assert Path(file.path).exists()


def test_a_kept_stage_is_released_not_removed(project: Project, sshd: Sshd, tmp_path: Path) -> None:
    """Destroying a kept stage leaves the machine as it is."""
    file = File(path=f"{tmp_path}/f", content="x")
    project.want(fleet_of(sshd.host("a"), identity=sshd.identity), stage("base", file, keep=True))
    project.run("up", "--yes", "--skip-preview")
    project.run("destroy", "--yes", "--skip-preview")
    assert Path(file.path).exists()


def test_an_unread_host_is_said_and_not_forgotten(
    project: Project, sshd: Sshd, start_sshd: Callable[[], Sshd], tmp_path: Path
) -> None:
    """With a host down: preview exits 0 and names it, `up` fails naming it and writes nothing; back up, all is well."""
    other = start_sshd()
    hosts = (sshd.host("a"), other.host("b", port=other.port, host_key=other.host_key))
    fleet = fleet_of(*hosts, identity=sshd.identity)
    (other.identity.parent / "authorized").write_text((sshd.identity.parent / "user.pub").read_text())
    wanted = {"name": "one", "hosts": {h: [to_wire(File(path=f"{tmp_path}/{h}", content="x"))] for h in "ab"}}
    project.want(fleet, wanted)
    project.run("up", "--yes", "--skip-preview")
    other.process.send_signal(signal.SIGSTOP)
    (tmp_path / "a").write_text("drift")
    shown = project.run("preview")
    assert "b: not read, shown as of the last up" in shown
    failed = project.run("up", "--yes", "--skip-preview", status=1)
    assert "nothing was written on any host" in failed
    assert "b (" in failed
    assert (tmp_path / "a").read_text() == "drift"
    other.process.send_signal(signal.SIGCONT)
    project.run("up", "--yes", "--skip-preview")
    assert (tmp_path / "a").read_text() == "x"
    project.run("destroy", "--yes", "--skip-preview")


def test_a_dead_machine_that_left_the_fleet_holds_up_nobody(
    project: Project, sshd: Sshd, start_sshd: Callable[[], Sshd], tmp_path: Path
) -> None:
    """A host that is gone from the fleet file and does not answer: `up` says what stays there, and goes on."""
    other = start_sshd()
    hosts = (sshd.host("a"), other.host("b", port=other.port, host_key=other.host_key))
    (other.identity.parent / "authorized").write_text((sshd.identity.parent / "user.pub").read_text())
    wanted = {"name": "one", "hosts": {h: [to_wire(File(path=f"{tmp_path}/{h}", content="x"))] for h in "ab"}}
    project.want(fleet_of(*hosts, identity=sshd.identity), wanted)
    project.run("up", "--yes", "--skip-preview")
    other.process.terminate()
    other.process.wait()
    only = File(path=f"{tmp_path}/a", content="y")
    project.want(fleet_of(hosts[0], identity=sshd.identity), stage("one", only))
    shown = project.run("up", "--yes", "--skip-preview")
    assert "b: no longer of the stack, and what is there stays" in shown
    assert (tmp_path / "a").read_text() == "y"
    assert "2 unchanged" in project.run("up", "--yes", "--skip-preview")
    project.run("destroy", "--yes", "--skip-preview")
    assert not (tmp_path / "a").exists()


def test_a_blocked_plan_reads_well(project: Project, sshd: Sshd, tmp_path: Path) -> None:
    """A requirement that is not met: found, wanted and fix in the diagnostics, no traceback, nothing written."""
    need = Requirement(name="driver", check="echo 470", wanted="570", fix="install driver 570")
    project.want(
        fleet_of(sshd.host("a"), identity=sshd.identity), stage("one", File(path=f"{tmp_path}/f", content="x"), need)
    )
    failed = project.run("up", "--yes", "--skip-preview", status=1)
    assert "found 470, wanted 570; install driver 570" in failed
    assert not (tmp_path / "f").exists()


def test_nothing_goes_for_an_update_that_is_refused(project: Project, sshd: Sshd, tmp_path: Path) -> None:
    """What is no longer wanted stays where what comes instead does not meet its requirements."""
    fleet, first = fleet_of(sshd.host("a"), identity=sshd.identity), File(path=f"{tmp_path}/f", content="x")
    project.want(fleet, stage("one", first))
    project.run("up", "--yes", "--skip-preview")
    need = Requirement(name="driver", check="echo 470", wanted="570", fix="install driver 570")
    project.want(fleet, stage("one", need, File(path=f"{tmp_path}/g", content="x")))
    assert "found 470, wanted 570" in project.run("up", "--yes", "--skip-preview", status=1)
    assert (Path(first.path).exists(), (tmp_path / "g").exists()) == (True, False)


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_up_goes_on(project: Project, sshd: Sshd, tmp_path: Path, name: signal.Signals) -> None:
    """SIGINT or SIGKILL of the CLI in the middle of an apply: the next `up` goes on, and everything is there once."""
    slow = Requirement(name="slow", check=f"touch {tmp_path}/probing; sleep 2; echo ok", wanted="ok", fix="wait")
    files = [File(path=f"{tmp_path}/f{n}", content="x") for n in range(3)]
    project.want(
        fleet_of(sshd.host("a"), identity=sshd.identity),
        stage("one", slow, *files),
        stage("two", files[0].__class__(path=f"{tmp_path}/g", content="y")),
    )
    process = subprocess.Popen(
        project.command("up", "--yes", "--skip-preview"),
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    while not (tmp_path / "probing").exists():
        assert process.poll() is None
        time.sleep(0.1)
    os.kill(process.pid, name)
    process.communicate(timeout=60)
    if name is signal.SIGKILL:
        subprocess.run(
            ["pulumi", "cancel", "--yes", "-s", "s", "-C", project.folder],
            env=project.environment,
            check=True,
            capture_output=True,
        )
    project.run("up", "--yes", "--skip-preview")
    assert "3 unchanged" in project.run("up", "--yes", "--skip-preview")
    project.run("destroy", "--yes", "--skip-preview")
    assert not (tmp_path / "g").exists()
