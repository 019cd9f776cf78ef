"""A real sshd on loopback, as this user, with a pinned host key; as many names of it as a test wants hosts."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hosts.fleet import Fleet, Host, Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Sshd:
    """A running server; `process` may be stopped, continued or ended by a test."""

    port: int
    host_key: str
    identity: Path
    process: subprocess.Popen[bytes]

    def host(self, name: str, **changed: object) -> Host:
        """This server under a name; `changed` replaces fields."""
        values: dict[str, object] = {
            "name": name,
            "address": "127.0.0.1",
            "port": self.port,
            "user": getpass.getuser(),
            "sudo": False,
            "host_key": self.host_key,
            "role": "login" if name == "login" else "node",
        }
        return Host(**(values | changed))  # type: ignore[arg-type]

    def fleet(self, *hosts: Host) -> Fleet:
        """A fleet of such hosts."""
        return Fleet(
            name="loopback", hosts=hosts, slurm="none", storage=Storage(path="/nowhere"), identity=str(self.identity)
        )


@pytest.fixture(scope="session")
def start_sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Sshd]]:
    """A function that starts another server; all are ended with the session."""
    program = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(program).exists():
        pytest.fail("sshd is not installed; `make setup` installs it (openssh-server)")
    started: list[subprocess.Popen[bytes]] = []

    def start() -> Sshd:
        folder = tmp_path_factory.mktemp("sshd")
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        shutil.copy(folder / "user.pub", folder / "authorized")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        Path("/run/sshd").mkdir(exist_ok=True, mode=0o755) if os.getuid() == 0 else None
        (folder / "config").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
            "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\n"
        )
        process = subprocess.Popen([program, "-D", "-f", folder / "config", "-E", folder / "log"])
        started.append(process)
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        else:
            pytest.fail(f"sshd did not start: {(folder / 'log').read_text()}")
        algorithm, key, *_ = (folder / "host.pub").read_text().split()
        return Sshd(port=port, host_key=f"{algorithm} {key}", identity=folder / "user", process=process)

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait(10)


@pytest.fixture(scope="session")
def sshd(start_sshd: Callable[[], Sshd]) -> Sshd:
    """The server that most tests share."""
    return start_sshd()
