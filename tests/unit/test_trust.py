"""Which paths another user could alter: the shell of `hosts.trust`, on folders that are really other users'."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts import trust
from hosts.errors import Unknown

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root may give a folder away")
STRANGER, DAEMON = 65534, 1
"""An ordinary account, and one of the system's."""


@pytest.fixture
def top() -> Iterator[Path]:
    """A folder that all users can reach, below one with a sticky bit."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def bash(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"{trust.FUNCTIONS}set -euo pipefail\n{script}"], capture_output=True, text=True, check=False
    )


def untrusted(path: Path | str, owner: str = "") -> str:
    return bash(f"{trust.probed(str(path), owner=owner)}").stdout


PATHS: list[tuple[str, list[tuple[str, int, int, int]], str, str]] = [
    # what it is; (path, mode, uid, gid) of each folder; the path looked at; what is said of it
    ("ours", [("a", 0o755, 0, 0), ("a/b", 0o700, 0, 0)], "a/b", ""),
    ("not there yet", [("a", 0o755, 0, 0)], "a/b/c", ""),
    ("a stranger's", [("a", 0o755, STRANGER, 0)], "a", "/a is owned by nobody (mode 0755), wanted root;"),
    ("below a stranger's", [("a", 0o755, STRANGER, 0)], "a/b", "/a is owned by nobody (mode 0755), wanted root;"),
    (
        "ours below a stranger's",
        [("a", 0o755, STRANGER, 0), ("a/b", 0o755, 0, 0)],
        "a/b",
        "/a is owned by nobody (mode 0755), wanted root;",
    ),
    ("below a system account's", [("a", 0o755, DAEMON, DAEMON), ("a/b", 0o755, 0, 0)], "a/b", ""),
    ("a system account's own", [("a", 0o755, DAEMON, DAEMON)], "a", "/a is owned by daemon (mode 0755), wanted root;"),
    ("open to all", [("a", 0o777, 0, 0)], "a/b", "/a is writable by everybody (mode 0777), who could replace"),
    (
        "a project's",
        [("a", 0o2770, 0, DAEMON), ("a/b", 0o755, 0, 0)],
        "a/b",
        "/a is writable by the group daemon (mode 2770), whose members could replace",
    ),
    ("a project's with a sticky bit", [("a", 0o3770, 0, DAEMON), ("a/b", 0o755, 0, 0)], "a/b", ""),
    ("root's own group", [("a", 0o775, 0, 0)], "a/b", ""),
    ("ours where all may write", [("a", 0o1777, 0, 0), ("a/b", 0o755, 0, 0)], "a/b", ""),
    (
        "a stranger's where all may write",
        [("a", 0o1777, 0, 0), ("a/b", 0o755, STRANGER, 0)],
        "a/b/c",
        "/a/b is owned by nobody (mode 0755), wanted root;",
    ),
    (
        "a stranger's folder with a sticky bit",
        [("a", 0o1777, STRANGER, 0), ("a/b", 0o755, 0, 0)],
        "a/b",
        "/a is owned by nobody (mode 1777), wanted root;",
    ),
]


@pytest.mark.parametrize(("folders", "path", "says"), [row[1:] for row in PATHS], ids=[row[0] for row in PATHS])
def test_who_could_alter_a_path(folders: list[tuple[str, int, int, int]], path: str, says: str, top: Path) -> None:
    for name, mode, uid, gid in folders:
        (top / name).mkdir()
        os.chown(top / name, uid, gid)
        (top / name).chmod(mode)
    found = untrusted(top / path)
    assert found.startswith(f"untrusted {top}{says}") if says else found == ""


def test_a_path_may_be_an_accounts_that_is_named(top: Path) -> None:
    os.chown(top, STRANGER, 0)
    assert untrusted(top / "a", owner="nobody") == ""
    assert "wanted root or daemon; remove it, give it to daemon, or choose another" in untrusted(top, owner="daemon")


@pytest.mark.parametrize("caller", [STRANGER, DAEMON])
def test_who_called_sudo_is_as_mighty_as_root(caller: int, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", str(caller))
    os.chown(top, STRANGER, 0)
    assert (untrusted(top) == "") is (caller == STRANGER)


LINKS: list[tuple[str, str, int, str, str]] = [
    # what it is; where the link leads; whose it is; the path looked at; what is said
    ("ours to ours", "ours", 0, "link/x", ""),
    ("up and down again", "ours/../ours", 0, "link/x", ""),
    ("ours to a stranger's", "theirs", 0, "link/x", "/theirs is owned by nobody"),
    ("ours over a stranger's folder", "theirs/../ours", 0, "link/x", "/theirs is owned by nobody"),
    ("a stranger's to ours", "ours", STRANGER, "link/x", "/link is owned by nobody"),
    ("a stranger's at the end", "ours", STRANGER, "link", "/link is owned by nobody"),
    ("to itself", "link", 0, "link/x", "/link leads through more than 40 links"),
    ("to nowhere", "gone", 0, "link/x", ""),
]


@pytest.mark.parametrize(("target", "uid", "path", "says"), [row[1:] for row in LINKS], ids=[row[0] for row in LINKS])
def test_links_are_followed_with_the_same_eyes(target: str, uid: int, path: str, says: str, top: Path) -> None:
    for name, owner in (("ours", 0), ("theirs", STRANGER)):
        (top / name).mkdir()
        os.chown(top / name, owner, 0)
    top.chmod(0o1777)
    for to in (target, f"{top}/{target}"):
        (top / "link").unlink(missing_ok=True)
        (top / "link").symlink_to(to)
        os.lchown(top / "link", uid, 0)
        found = untrusted(top / path)
        assert found.startswith(f"untrusted {top}{says}") if says else found == ""


def test_a_refusal_is_no_absence() -> None:
    with pytest.raises(Unknown, match=r"^/s is owned by eva$"):
        trust.refuse("untrusted /s is owned\nby eva\n")
    trust.refuse("absent\n")


def test_folders_are_made_by_us_or_not_at_all(top: Path) -> None:
    """All that is missing, open to read; a stranger's folder on the way stops it before anything is made."""
    done = bash(f"umask 077; {trust.folder(f'{top}/a b/c')}")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert (top / "a b" / "c").stat().st_mode & 0o777 == 0o755
    os.chown(top / "a b", STRANGER, 0)
    done = bash(trust.folder(f"{top}/a b/d"))
    assert (done.returncode, (top / "a b" / "d").exists()) == (1, False)
    assert "is owned by nobody" in done.stdout
    assert bash(trust.trusted(str(top), f"{top}/a b/c")).returncode == 1


def test_somebody_who_was_faster_is_not_joined(top: Path) -> None:
    """Between the look and the making: `mkdir` is the moment that decides."""
    top.chmod(0o1777)
    faster = f'mkdir() {{ command mkdir "$@"; chown {STRANGER} -- {top}/a; command mkdir "$@"; }}; '
    done = bash(f"{faster}{trust.folder(f'{top}/a/b')}")
    assert done.returncode != 0
    assert not (top / "a" / "b").exists()


def test_root_is_the_owner_of_a_folder_in_it(top: Path) -> None:
    """So that no link there leads to what its owner could not reach."""
    theirs = top / "theirs"
    theirs.mkdir()
    os.chown(theirs, STRANGER, STRANGER)
    assert bash(f'cd {theirs}; trust_as .; "${{as[@]}}" id -u').stdout == f"{STRANGER}\n"
    assert bash(f'cd {top}; trust_as .; "${{as[@]}}" id -u').stdout == "0\n"


@pytest.mark.parametrize(
    ("uid", "gid", "mode", "says"),
    [
        (DAEMON, DAEMON, 0o755, ""),
        (DAEMON, DAEMON, 0o775, ""),  # a group of its own name, as most systems give to each account
        (DAEMON, 2, 0o775, " is writable by the group bin (mode 0775)"),
        (0, 0, 0o755, ""),
        (STRANGER, 0, 0o755, " is owned by nobody (mode 0755), wanted root or daemon; remove it, give it to daemon,"),
    ],
)
def test_without_root_ours_is_what_belongs_to_this_account(uid: int, gid: int, mode: int, says: str, top: Path) -> None:
    os.chown(top, uid, gid)
    top.chmod(mode)
    become = ["setpriv", "--reuid", str(DAEMON), "--regid", str(DAEMON), "--clear-groups", "--"]
    script = f"{trust.FUNCTIONS}{trust.probed(str(top))}"
    out = subprocess.run([*become, "bash", "-c", script], capture_output=True, text=True, check=False).stdout
    assert out.startswith(f"untrusted {top}{says}") if says else out == ""
