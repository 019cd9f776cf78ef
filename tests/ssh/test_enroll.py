"""Enrolling a real sshd: its key accepted once, read once, and refused when it shows another key."""

import getpass
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hosts.errors import Refused, Unreachable, WrongHostKey
from hosts.fleet import Fleet, load
from hosts.remote import Connections, fetch_host_key
from infra.operate.enroll import Enrolled, enroll
from infra.operate.fleet_file import Request
from tests.sshd import Sshd

pytestmark = pytest.mark.ssh

Run = Callable[..., Enrolled]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Enrolls into a folder of the test's own; `questions` collects what was asked."""
    opened: list[Connections] = []

    def connect_to(fleet: Fleet) -> Connections:
        opened.append(Connections(fleet))
        return opened[-1]

    def enrolled(
        sshd: Sshd,
        *hosts: str,
        new: bool = True,
        changed: bool = False,
        questions: list[str] | None = None,
        **words: str,
    ) -> Enrolled:
        def answer(yes: bool) -> Callable[[str], bool]:
            def ask(question: str) -> bool:
                if questions is not None:
                    questions.append(question)
                return yes

            return ask

        request = Request(
            fleet="loopback",
            hosts=hosts or ("127.0.0.1",),
            default_user=getpass.getuser(),
            port=sshd.port,
            identity=str(sshd.identity),
            storage=str(tmp_path),
            slurm="none",
            **words,
        )
        return enroll(
            request,
            folder=tmp_path,
            fetch=fetch_host_key,
            connect_to=connect_to,
            accept_new=answer(new),
            accept_changed=answer(changed),
            say=print,
        )

    yield enrolled
    for connections in opened:
        connections.close()


def test_twice(sshd: Sshd, run: Run, tmp_path: Path) -> None:
    questions: list[str] = []
    first = run(sshd, questions=questions)
    assert len(questions) == 1
    assert "SHA256:" in questions[0]
    fleet = load("loopback", tmp_path)
    (host,) = fleet.hosts
    assert host.name == os.uname().nodename.split(".")[0]
    assert host.host_key == sshd.host_key
    assert host.interface == "lo"
    assert host.cpus
    assert host.memory_mib
    assert first.changes
    assert Connections(fleet)(host.name)("echo hello\n").stdout == "hello\n"
    written = first.path.read_bytes()

    again = run(sshd, questions=questions)
    assert again.changes == ()
    assert len(questions) == 1, "a pinned key is not asked about again"
    assert first.path.read_bytes() == written
    assert "nothing changed" in "\n".join(again.lines())


def test_comments_are_not_lost(sshd: Sshd, run: Run) -> None:
    path = run(sshd).path
    path.write_text(
        "# ours\n" + path.read_text(encoding="utf-8") + "# the rack in the corner\npartition: big\n", encoding="utf-8"
    )
    edited = path.read_text(encoding="utf-8")
    assert run(sshd).changes == ()
    assert path.read_text(encoding="utf-8") == edited
    path.write_text(edited.replace("interface: lo", "interface: gone0"), encoding="utf-8")
    changed = run(sshd)
    assert any("interface: gone0 → lo" in change for change in changed.changes)
    assert changed.backup is not None
    assert "the rack in the corner" in changed.backup.read_text(encoding="utf-8")
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ours\n")
    assert "partition: big" in text


def test_a_changed_key_is_refused(start_sshd: Callable[[], Sshd], sshd: Sshd, run: Run) -> None:
    first = run(sshd)
    other = start_sshd()
    text = first.path.read_text(encoding="utf-8").replace(f"port: {sshd.port}", f"port: {other.port}")
    first.path.write_text(text, encoding="utf-8")
    with pytest.raises(WrongHostKey, match="but the fleet pins SHA256:"):
        run(other)
    assert first.path.read_text(encoding="utf-8") == text
    assert any("host_key" in change for change in run(other, changed=True).changes)


def test_a_key_not_accepted_and_a_host_that_is_down(sshd: Sshd, run: Run, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="was not accepted"):
        run(sshd, new=False)
    with pytest.raises(Unreachable) as caught:
        run(sshd, "127.0.0.1", "127.0.0.9", new=False)
    assert "127.0.0.9" in str(caught.value)
    assert "was not accepted" in str(caught.value)
    assert list(tmp_path.glob("*.yaml")) == []


def test_through_a_jump_host(sshd: Sshd, start_sshd: Callable[[], Sshd], run: Run, tmp_path: Path) -> None:
    """The second machine's key and facts come through the first, whose key was accepted a moment before."""
    run(sshd)
    path = tmp_path / "loopback.yaml"
    jump = load("loopback", tmp_path).hosts[0].name
    behind = start_sshd()
    (behind.identity).write_bytes(sshd.identity.read_bytes())
    (behind.identity.parent / "authorized").write_bytes((sshd.identity.parent / "authorized").read_bytes())
    enrolled = run(behind, "behind=127.0.0.1", jump=jump)
    assert any("hosts.behind" in change for change in enrolled.changes), path.read_text(encoding="utf-8")
    fleet = load("loopback", tmp_path)
    assert fleet.host("behind").jump == jump
    assert (fleet.host(jump).role, fleet.host("behind").role) == ("login", "node"), "one login host is enough"
    connections = Connections(fleet)
    assert connections("behind")("echo hello\n").stdout == "hello\n"
    connections.close()
