"""Hosts that hang or hang up, and keys that are not there: what is said, and how soon; over a real sshd."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hosts import remote
from hosts.connection import KILLED, LOST
from hosts.converge import converge, gather
from hosts.errors import Cancelled, InputError, Truncated, Unreachable
from hosts.remote import Connections
from hosts.resources import File
from hosts.state import Stage
from infra.operate.job import ask_host
from tests.sshd import Sshd

pytestmark = pytest.mark.ssh


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same patience, in a tenth of the time."""
    monkeypatch.setattr(remote, "READ_TIMEOUT_S", 3.0)
    monkeypatch.setattr(remote, "SLOW_S", 1.0)


def children(sshd: Sshd) -> list[int]:
    """The server's processes of open connections."""
    found = subprocess.run(["pgrep", "-P", str(sshd.process.pid)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


def cut(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def frozen(start_sshd: Callable[[], Sshd]) -> Iterator[tuple[Connections, list[str]]]:
    """A host that hangs after the connection to it was opened, and what is said of it."""
    server = start_sshd()
    said: list[str] = []
    connect = Connections(server.fleet(server.host("a")), say=lambda host, line: said.append(f"{host}: {line}"))
    connect("a")("true")
    sessions = children(server)
    for pid in sessions:
        os.kill(pid, signal.SIGSTOP)
    yield connect, said
    for pid in sessions:
        os.kill(pid, signal.SIGCONT)
    connect.close()


@pytest.mark.usefixtures("quick")
def test_a_frozen_host_is_named(frozen: tuple[Connections, list[str]]) -> None:
    """No session comes: first a line, then the error with what to do."""
    connect, said = frozen
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"a: no answer for 3 s .* look with `ssh "):
        connect("a")("true")
    assert time.monotonic() - began < 6
    assert said == ["a: no answer for 1 s; it is given up after 3 s"]


@pytest.mark.usefixtures("quick")
def test_a_silent_read_is_given_up(sshd: Sshd) -> None:
    """What only reads may be silent for half a minute, what works for longer; each byte counts as an answer."""
    said: list[str] = []
    connect = Connections(sshd.fleet(sshd.host("a")), say=lambda host, _: said.append(host))
    began = time.monotonic()
    with pytest.raises(Unreachable, match="a: no answer for 3 s"):
        ask_host("a", connect, "sleep 30")
    assert time.monotonic() - began < 6
    assert said == ["a"]
    assert ask_host("a", connect, "sleep 4; echo late", patient=True) == ["late\n"]
    assert ask_host("a", connect, "sleep 2; echo 1", "sleep 2; echo 2", "sleep 2; echo 3") == ["1\n", "2\n", "3\n"]
    connect.close()


def test_why_a_script_has_no_end(start_sshd: Callable[[], Sshd]) -> None:
    """A shell that exits by itself, one that is killed, and a connection that is lost are told apart."""
    server = start_sshd()
    connect = Connections(server.fleet(server.host("a")))
    assert connect("a")("exit 7").status == 7
    assert connect("a")("kill -9 $$").status == KILLED
    with pytest.raises(Truncated, match="a: the shell was killed before the script ended"):
        ask_host("a", connect, "kill -9 $$")
    threading.Timer(0.5, cut, [children(server)]).start()
    assert connect("a")("echo here; sleep 30").status == LOST


def test_an_apply_says_what_ended_it(sshd: Sshd, tmp_path: Path) -> None:
    """A step that kills the shell: what was done, and that it was the shell, not the link."""

    class Fatal(File):
        def steps(self, actual: File | None) -> Iterator[str]:  # noqa: ARG002
            yield "kill -9 $$"

    connect = Connections(sshd.fleet(sshd.host("a")))
    wanted = (File(path=f"{tmp_path}/f", content="x"), Fatal(path=f"{tmp_path}/g", content="x"))
    report = converge(Stage(name="t", hosts={"a": wanted}), connect, apply=True, lock_dir=str(tmp_path / "l"))
    with pytest.raises(Truncated, match=r"the shell was killed before the script ended; done: file:.*/f; not known"):
        report.raise_errors()
    connect.close()


def test_a_cancel_ends_the_wait_within_a_second(sshd: Sshd, tmp_path: Path) -> None:
    """A script that shows progress at once, one that shows none after a moment in which it may start its work."""
    for script in (f"while touch {tmp_path}/f; do printf '\x1f.\\n'; sleep 0.1; done", "sleep 30"):
        stop = threading.Event()
        connect = Connections(sshd.fleet(sshd.host("a")), stop)
        connect("a")("true")
        stopped: list[float] = []
        threading.Timer(0.5, lambda stop=stop, at=stopped: (at.append(time.monotonic()), stop.set())).start()
        with pytest.raises(Cancelled, match="a: stopped waiting; what runs there goes on, and the next run joins it"):
            connect("a")(script, lambda _line: None)
        assert time.monotonic() - stopped[0] < 1
        connect.close()


def test_a_missing_key_is_named_before_any_connection(sshd: Sshd, tmp_path: Path) -> None:
    fleet = replace(sshd.fleet(sshd.host("a")), identity=str(tmp_path / "id"))
    with pytest.raises(
        InputError, match=r"identity of hosts/inventory/loopback\.yaml: found no file .*/id, wanted"
    ) as it:
        Connections(fleet)
    assert "is it up" not in str(it.value)


def test_a_key_that_is_none_is_named(sshd: Sshd, tmp_path: Path) -> None:
    """A file that holds no private key: the error is about the file."""
    (tmp_path / "id").write_text("not a key\n")
    connect = Connections(replace(sshd.fleet(sshd.host("a")), identity=str(tmp_path / "id")))
    facts = gather(Stage(name="t", hosts={"a": (File(path="/f", content=""),)}), connect)
    assert "is it up" not in str(facts.unreachable["a"])
    assert "key" in str(facts.unreachable["a"])
