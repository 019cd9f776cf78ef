"""The mesh's programs over real sshds: nodes of one machine, each on a loopback address of its own."""

import getpass
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hosts.programs import mesh

pytestmark = pytest.mark.ssh
PROGRAM = mesh.__file__


class Loopback:
    """A mesh of nodes on 127.0.0.2 and up; each has its private folder, its sshd and its `keep`."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.2", 0))
            self.port = free.getsockname()[1]
        hosts = [
            {"name": f"dgx{n}", "address": f"127.0.0.{n + 1}", "interface": "lo", "gpus": 8}
            for n in range(1, count + 1)
        ]
        said = {"stack": "k2", "folder": str(folder), "port": self.port, "user": getpass.getuser(), "hosts": hosts}
        self.conf = folder / "mesh.json"
        self.conf.write_text(json.dumps({**said, "enter": {}}))
        self.mesh = mesh.load(str(self.conf))
        self.names = [node.name for node in self.mesh.nodes]
        self.running: dict[tuple[str, str], subprocess.Popen[bytes]] = {}

    def private(self, name: str) -> Path:
        return self.folder / f"private-{name}"

    def argv(self, mode: str, *words: str) -> list[str]:
        return [sys.executable, "-I", PROGRAM, mode, str(self.conf), *words]

    def start(self, mode: str, name: str, *more: str, **env: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{mode}-{name}.log").open("ab") as log:
            process = subprocess.Popen(
                self.argv(mode, name, str(self.private(name)), *more), stdout=log, stderr=log, env={**os.environ, **env}
            )
        self.running[mode, name] = process
        return process

    def end(self, mode: str, name: str) -> None:
        process = self.running.pop((mode, name))
        process.terminate()
        process.wait(10)

    def keys(self, *names: str, timeout_s: float = 20) -> None:
        made = [self.start("keys", name, str(timeout_s)) for name in names]
        assert [process.wait(30) for process in made] == [0] * len(names), self.log("keys", names[0])

    def up(self) -> None:
        self.keys(*self.names)
        for name in self.names:
            self.start("serve", name, SLURM_JOB_ID="7", COLOUR="dark blue")
            self.start("keep", name)

    def do(self, mode: str, timeout_s: float = 10) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.argv(mode, str(timeout_s)), capture_output=True, text=True, check=False, timeout=60)

    def log(self, mode: str, name: str) -> str:
        return (self.folder / f"{mode}-{name}.log").read_text()

    def ssh(self, name: str, peer: str, *words: str) -> list[str]:
        return ["ssh", "-F", str(self.private(name) / "ssh_config"), self.mesh.node(peer).address, *words]


@pytest.fixture
def loopback(tmp_path: Path) -> Iterator[Callable[[int], Loopback]]:
    """Makes such a mesh; what runs of it at the end is ended."""
    made: list[Loopback] = []

    def make(count: int) -> Loopback:
        made.append(Loopback(tmp_path, count))
        return made[-1]

    yield make
    for each in made:
        for mode, name in list(each.running):
            each.end(mode, name)


def test_all_pairs_are_proven_and_a_rotation_keeps_what_runs(loopback: Callable[[int], Loopback]) -> None:
    """Three nodes; a long session lives through new keys, and the old ones are gone everywhere."""
    nodes = loopback(3)
    nodes.up()
    done = nodes.do("pairs")
    assert (done.returncode, done.stdout) == (0, "mesh: all 6 pairs of 3 nodes are proven\n"), done.stderr
    seen = subprocess.run(nodes.ssh("dgx1", "dgx2", "env"), capture_output=True, text=True, check=True).stdout
    assert {"SLIPWAY_STACK=k2", "SLIPWAY_MESH_HOST=dgx2", "COLOUR=dark blue"} <= set(seen.splitlines())
    assert "SLURM_JOB_ID" not in seen
    before = {name: (nodes.private(name) / "authorized_keys").read_text() for name in nodes.names}
    with subprocess.Popen(nodes.ssh("dgx1", "dgx2", "cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as session:
        assert session.stdin
        assert session.stdout
        session.stdin.write(b"before\n")
        session.stdin.flush()
        assert session.stdout.readline() == b"before\n"
        done = nodes.do("rotate", 20)
        assert done.returncode == 0, done.stderr
        session.stdin.write(b"after\n")
        session.stdin.flush()
        assert session.stdout.readline() == b"after\n"
        session.stdin.close()
    for name in nodes.names:
        kept = sorted(path.name for path in nodes.private(name).iterdir() if path.name[:4] in ("host", "user"))
        assert kept == ["host.2", "host.2.pub", "user.2", "user.2.pub"]
        new = (nodes.private(name) / "authorized_keys").read_text()
        assert len(new.splitlines()) == 3
        assert not set(new.split()) & {word for word in before[name].split() if len(word) == 68}
        assert nodes.private(name).stat().st_mode & 0o777 == 0o700


def test_a_closed_port_a_man_in_the_middle_and_a_sleeping_peer_are_named(loopback: Callable[[int], Loopback]) -> None:
    nodes = loopback(2)
    nodes.up()
    assert nodes.do("pairs").returncode == 0
    nodes.end("serve", "dgx2")
    done = nodes.do("pairs", 2)
    assert done.returncode == 1
    assert f"dgx1 -> dgx2: closed port: nothing listens on 127.0.0.3:{nodes.port}" in done.stderr
    assert "dgx2 -> dgx1" not in done.stderr
    # another sshd on the peer's address, which would let in whom it knows
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", nodes.folder / "other"], check=True)
    text = (nodes.private("dgx2") / "sshd_config").read_text()
    (nodes.folder / "middle").write_text(text.replace(f"{nodes.private('dgx2')}/host.1", f"{nodes.folder}/other"))
    middle = subprocess.Popen([mesh.SSHD, "-D", "-f", nodes.folder / "middle"], stderr=subprocess.DEVNULL)
    try:
        done = nodes.do("pairs", 3)
        assert "dgx1 -> dgx2: wrong host key: what answers on 127.0.0.3" in done.stderr
    finally:
        middle.terminate()
        middle.wait(10)
    nodes.start("serve", "dgx2")
    assert nodes.do("pairs").returncode == 0, "it heals"
    nodes.running["keep", "dgx2"].send_signal(signal.SIGSTOP)
    done, turned = nodes.do("pairs", 2), nodes.do("rotate", 3)
    nodes.running["keep", "dgx2"].send_signal(signal.SIGCONT)
    assert "dgx2 -> dgx1: dgx2 does not answer: it sleeps" in done.stderr
    assert "dgx2 has not made new keys: it sleeps" in turned.stderr
    assert nodes.do("rotate", 20).returncode == 0, "what a rotation left undone, the next does"


def test_keys_of_an_earlier_run_prove_nothing(loopback: Callable[[int], Loopback]) -> None:
    """A node that starts anew is not connected by what it published before; its peers follow its new keys."""
    nodes = loopback(2)
    nodes.up()
    assert nodes.do("pairs").returncode == 0
    old = (nodes.private("dgx2") / "host.1.pub").read_text()
    for mode in ("serve", "keep"):
        nodes.end(mode, "dgx2")
    assert nodes.do("pairs", 2).returncode == 1, "old files alone are no proof"
    nodes.keys("dgx2")
    assert (nodes.private("dgx2") / "host.1.pub").read_text() != old
    nodes.start("serve", "dgx2")
    nodes.start("keep", "dgx2")
    assert nodes.do("pairs").returncode == 0


def test_a_peer_that_never_publishes_is_waited_for_and_named(loopback: Callable[[int], Loopback]) -> None:
    nodes = loopback(3)
    made = [nodes.start("keys", name, "1.5") for name in ("dgx1", "dgx2")]
    assert [process.wait(20) for process in made] == [1, 1]
    log = nodes.log("keys", "dgx1")
    assert "dgx1 waits for dgx3: dgx3 has published no keys yet" in log
    assert "waits for dgx2:" not in log


def test_what_peers_publish_reaches_no_file_unless_it_is_a_key(loopback: Callable[[int], Loopback]) -> None:
    nodes = loopback(2)
    nodes.up()
    assert nodes.do("pairs").returncode == 0
    shared = nodes.folder / "mesh" / "dgx2.json"
    nodes.running["keep", "dgx2"].send_signal(signal.SIGSTOP)
    good = json.loads(shared.read_text())
    hostile = good["keys"][0]["user"] + '\ncommand="x" ssh-ed25519 AAAA'
    shared.write_text(json.dumps({**good, "keys": [{**good["keys"][0], "user": hostile}]}))
    time.sleep(1.5)
    assert "command=" not in (nodes.private("dgx1") / "authorized_keys").read_text()
    assert "is not what a node publishes: a key there is no bare ed25519 key" in nodes.log("keep", "dgx1")
    shared.unlink()
    shared.symlink_to(nodes.conf)
    time.sleep(1.5)
    assert "can't be read" in nodes.log("keep", "dgx1")
    nodes.running["keep", "dgx2"].send_signal(signal.SIGCONT)
    assert nodes.do("pairs").returncode == 0
