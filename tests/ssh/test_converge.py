"""The law of resources and the promises of converge, over a real sshd."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol, Self

import pytest

from hosts.converge import converge, gather, plan
from hosts.errors import Blocked, Failed, Locked, NotConverged, StepFailed, Truncated, Unreachable, WrongHostKey
from hosts.fleet import Fleet, Host
from hosts.remote import Connections
from hosts.resources import Claim, Directory, File, Requirement, SecretFile, Weights
from hosts.state import Resource, Stage

pytestmark = pytest.mark.ssh

ODD_NAMES = [
    "plain",
    "a b",
    "quo'te",
    'dou"ble',
    "$HOME",
    "new\nline",
    "ünïcødé ☃",
    "-dash",
    "`id`",
    "back\\slash",
    "*",
    "a;b",
    "tab\tx",
    "!x",
]
ODD_CONTENTS = [
    "",
    "x",
    "no newline",
    "line\n",
    "\x1eframe\x1f\n",
    "'\"$(id)`\\\n",
    "EOF\nSLIPWAY_PROGRAM\n",
    "☃\r\n\r",
    "\udcff\udc80 bytes",
    "a" * 70_000,
]


class Server(Protocol):
    def host(self, name: str, **changed: object) -> Host: ...
    def fleet(self, *hosts: Host) -> Fleet: ...
    @property
    def process(self) -> subprocess.Popen[bytes]: ...


def stage(*resources: Resource, hosts: tuple[str, ...] = ("a",)) -> Stage:
    return Stage(name="test", hosts=dict.fromkeys(hosts, resources))


def up(*resources: Resource, connect: Connections, **options: object) -> None:
    converge(stage(*resources), connect, apply=True, **options).raise_errors()  # type: ignore[arg-type]


@pytest.fixture
def locks(tmp_path: Path) -> str:
    return str(tmp_path / "locks")


def law(*resources: Resource, connect: Connections, locks: str, secret: bytes = b"s3cret \xff value") -> None:
    """Steps, then each probe parses to the desired value and a second plan is empty; removal, twice, leaves nothing."""
    wanted = stage(*resources)
    first = converge(wanted, connect, apply=True, secrets=lambda _: secret, lock_dir=locks)
    first.raise_errors()
    assert len(first.outcomes[0].planned) == len(resources)
    facts = gather(wanted, connect)
    assert {key: seen.actual for key, seen in facts.seen["a"].items()} == {r.key: r for r in resources}
    assert plan(wanted, facts).changes == ()
    for expected in (True, False):
        gone = converge(wanted, connect, apply=True, absent=True, lock_dir=locks)
        gone.raise_errors()
        assert gone.changed is expected
    assert all(seen.actual is None for seen in gather(wanted, connect).seen["a"].values())


def test_law_of_odd_names_and_contents(connect: Connections, locks: str, tmp_path: Path) -> None:
    """Files, secrets and directories keep the law whatever they are called and whatever is in them."""
    resources: list[Resource] = [Directory(path=str(tmp_path / kind)) for kind in "fds"]
    for name in ODD_NAMES:
        resources.append(File(path=str(tmp_path / "f" / name), content=name, mode="0604"))
        resources.append(Directory(path=str(tmp_path / "d" / name), mode="0710"))
        resources.append(SecretFile(path=str(tmp_path / "s" / name), secret="k", digest=""))
    resources += [File(path=str(tmp_path / "f" / f"content{n}"), content=c) for n, c in enumerate(ODD_CONTENTS)]
    law(*resources, connect=connect, locks=locks)
    up(*resources, connect=connect, lock_dir=locks)
    for n, content in enumerate(ODD_CONTENTS):
        assert (tmp_path / "f" / f"content{n}").read_bytes() == content.encode("utf-8", "surrogateescape")


def test_law_of_a_secret_with_a_value(connect: Connections, locks: str, tmp_path: Path) -> None:
    """The value arrives in a file of mode 0600, and neither plan nor diff holds it."""
    path = tmp_path / "key"
    value = b"s3cret \xff value"
    secret = SecretFile(path=str(path), secret="k", digest=hashlib.sha256(value).hexdigest())
    law(secret, connect=connect, locks=locks)
    report = converge(stage(secret), connect, apply=True, secrets=lambda _: value, lock_dir=locks)
    assert path.read_bytes() == value
    assert path.stat().st_mode & 0o777 == 0o600
    assert "s3cret" not in str(report)


def test_a_made_secret_is_made_once(connect: Connections, locks: str, tmp_path: Path) -> None:
    """A key made on the host survives a change of mode, and has 64 hex digits."""
    path = tmp_path / "key"
    secret = SecretFile(path=str(path), secret="k")
    up(secret, connect=connect, lock_dir=locks)
    made = path.read_text()
    assert len(made) == 64
    up(replace(secret, mode="0400"), connect=connect, lock_dir=locks)
    assert path.read_text() == made


def test_a_held_secret_is_not_replaced(connect: Connections, locks: str, tmp_path: Path) -> None:
    """Another value that is there stays, and the message says how to go by it; an empty file is nobody's value."""
    path = tmp_path / "key"
    ours, theirs = b"ours", b"theirs"
    secret = SecretFile(path=str(path), secret="a-key", digest=hashlib.sha256(ours).hexdigest(), held=True)
    law(secret, connect=connect, locks=locks, secret=ours)
    path.write_bytes(theirs)
    with pytest.raises(Blocked, match=r"holds another a-key than the one here: .* SLIPWAY_SECRET_A_KEY"):
        converge(stage(secret), connect, apply=True, secrets=lambda _: ours, lock_dir=locks)
    assert path.read_bytes() == theirs
    path.write_bytes(b"")
    converge(stage(secret), connect, apply=True, secrets=lambda _: ours, lock_dir=locks).raise_errors()
    assert path.read_bytes() == ours


def test_law_of_a_claim(connect: Connections, locks: str, tmp_path: Path) -> None:
    """A claim keeps the law, and the same stack from another backend is refused by name."""
    claim = Claim(folder=str(tmp_path / "claims"), artifact="fleet", stack="lab", backend="aaaa", holder="eva@desk")
    law(claim, connect=connect, locks=locks)
    up(claim, connect=connect, lock_dir=locks)
    with pytest.raises(Blocked, match="eva@desk"):
        up(replace(claim, backend="bbbb"), connect=connect, lock_dir=locks)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a file away")
def test_owner_and_group(connect: Connections, locks: str, tmp_path: Path) -> None:
    """Owner and group are part of the law."""
    law(File(path=str(tmp_path / "f"), content="x", owner="nobody", group="daemon"), connect=connect, locks=locks)
    law(Directory(path=str(tmp_path / "d"), owner="nobody", group="daemon"), connect=connect, locks=locks)


def test_a_link_is_replaced_and_a_directory_is_refused(connect: Connections, locks: str, tmp_path: Path) -> None:
    """What a link points to is left alone; a folder where a file is wanted blocks."""
    (tmp_path / "target").write_text("kept")
    (tmp_path / "f").symlink_to(tmp_path / "target")
    up(File(path=str(tmp_path / "f"), content="new"), connect=connect, lock_dir=locks)
    assert (tmp_path / "target").read_text() == "kept"
    assert not (tmp_path / "f").is_symlink()
    (tmp_path / "d").mkdir()
    with pytest.raises(Blocked, match="is a directory"):
        up(File(path=str(tmp_path / "d"), content="x"), connect=connect, lock_dir=locks)


@pytest.mark.skipif(os.getuid() != 0, reason="the registry of what is ours belongs to root")
def test_a_foreign_file_is_never_overwritten(connect: Connections, locks: str, tmp_path: Path) -> None:
    """A guarded file that exists without our marker blocks, and stays as it is."""
    path = tmp_path / "slurm.conf"
    path.write_text("ClusterName=theirs\n")
    file = File(path=str(path), content="ours", guard=True)
    with pytest.raises(Blocked, match="somebody else's"):
        up(file, connect=connect, lock_dir=locks)
    assert path.read_text() == "ClusterName=theirs\n"
    path.unlink()
    law(file, connect=connect, locks=locks)


def test_drift_shows_as_a_diff_of_lines(connect: Connections, locks: str, tmp_path: Path) -> None:
    """A changed line is shown as such, and repaired."""
    path = tmp_path / "f"
    file = File(path=str(path), content="one\ntwo\nthree\n")
    up(file, connect=connect, lock_dir=locks)
    path.write_text("one\n2\nthree\n")
    report = converge(stage(file), connect, apply=False)
    assert "-2" in report.outcomes[0].planned[0]
    assert "+two" in report.outcomes[0].planned[0]
    up(file, connect=connect, lock_dir=locks)
    assert path.read_text() == "one\ntwo\nthree\n"


def test_a_requirement_blocks_everything(connect: Connections, locks: str, tmp_path: Path) -> None:
    """Nothing is written, and the message has found, wanted and the fix."""
    bad = Requirement(name="driver", check="echo 470.1", wanted="570 or newer", fix="install driver 570")
    with pytest.raises(Blocked, match=r"found 470\.1, wanted 570 or newer; install driver 570"):
        up(File(path=str(tmp_path / "f"), content="x"), bad, connect=connect, lock_dir=locks)
    assert not (tmp_path / "f").exists()
    up(replace(bad, check="echo ok"), connect=connect, lock_dir=locks)


def test_preflight_is_fleet_wide(sshd: Server, start_sshd: Callable[[], Server], locks: str, tmp_path: Path) -> None:
    """One dead host: nothing is written on the others, unless told to keep going; each is named."""
    dead = start_sshd()
    dead.process.terminate()
    dead.process.wait(10)
    fleet = sshd.fleet(sshd.host("a"), dead.host("b"))
    wanted = Stage(
        name="test",
        hosts={
            "a": (File(path=str(tmp_path / "f"), content="x"),),
            "b": (File(path=str(tmp_path / "g"), content="x"),),
        },
    )
    connect = Connections(fleet)
    with pytest.raises(Unreachable, match=r"(?s)nothing was written on any host.*b \("):
        converge(wanted, connect, apply=True, lock_dir=locks)
    assert not (tmp_path / "f").exists()
    report = converge(wanted, connect, apply=True, keep_going=True, lock_dir=locks)
    with pytest.raises(Unreachable, match="b "):
        report.raise_errors()
    assert (tmp_path / "f").exists()
    connect.close()


def test_a_wrong_or_missing_host_key_is_refused(sshd: Server, start_sshd: Callable[[], Server]) -> None:
    """Another key than the pinned one, or none pinned: no session, and the message says what to run."""
    other = start_sshd()
    key = other.host("x").host_key
    for host, text in (
        (sshd.host("a", host_key=key), "but the fleet pins"),
        (sshd.host("a", host_key=""), "no host key is pinned"),
    ):
        with pytest.raises(WrongHostKey, match=text):
            Connections(sshd.fleet(host))("a")


def test_a_host_that_hangs_is_given_up(start_sshd: Callable[[], Server]) -> None:
    """A stopped sshd accepts the connection and says nothing: given up after the connect timeout, once a process."""
    server = start_sshd()
    server.process.send_signal(signal.SIGSTOP)
    connect = Connections(server.fleet(server.host("a")))
    began = time.monotonic()
    with pytest.raises(Unreachable, match="a \\("):
        connect("a")
    first = time.monotonic() - began
    assert first < 20
    with pytest.raises(Unreachable):
        connect("a")
    assert time.monotonic() - began < first + 1


def test_a_failing_step_names_itself(connect: Connections, locks: str, tmp_path: Path) -> None:
    """What was done before it, what was not tried, and the last lines of its output."""
    good, bad, later = (File(path=str(tmp_path / p), content="x") for p in ("a", "missing/b", "c"))
    report = converge(stage(good, bad, later), connect, apply=True, lock_dir=locks)
    with pytest.raises(
        StepFailed,
        match=r"(?s)missing/b: a step exited 1; done before it: file:.*/a; not tried: file:.*/c.*No such file",
    ):
        report.raise_errors()
    up(good, later, connect=connect, lock_dir=locks)


def test_a_step_that_lies_is_caught(connect: Connections, locks: str, tmp_path: Path) -> None:
    """Verify is not optional: a directory that can't get its mode is not reported as done."""
    path = tmp_path / "d"

    class Lying(Directory):
        def steps(self, actual: Directory | None) -> Iterator[str]:  # noqa: ARG002
            yield "true"

    report = converge(stage(Lying(path=str(path))), connect, apply=True, lock_dir=locks)
    with pytest.raises(NotConverged, match=r"still differs"):
        report.raise_errors()


def test_a_held_lock_names_its_holder(connect: Connections, locks: str, tmp_path: Path) -> None:
    """Two runs never interleave on a host."""
    Path(locks).mkdir()
    lock = Path(locks) / "slipway.lock"
    lock.write_text("eva@desk pid 7\n")
    holder = subprocess.Popen(["flock", str(lock), "sleep", "60"], start_new_session=True)
    try:
        time.sleep(0.3)
        report = converge(stage(File(path=str(tmp_path / "f"), content="x")), connect, apply=True, lock_dir=locks)
        with pytest.raises(Locked, match="eva@desk pid 7"):
            report.raise_errors()
    finally:
        os.killpg(holder.pid, signal.SIGTERM)
        holder.wait(10)
    up(File(path=str(tmp_path / "f"), content="x"), connect=connect, lock_dir=locks)


def test_a_plan_is_checked_again_before_it_is_applied(connect: Connections, locks: str, tmp_path: Path) -> None:
    """A machine that moves between plan and apply is planned anew, and what is right by then is left alone."""
    path = tmp_path / "f"

    class Moving(File):
        def parse(self, out: str) -> "Moving | None":
            actual = super().parse(out)
            if not path.exists():
                path.write_text("x")
                path.chmod(0o644)
            return actual

    report = converge(stage(Moving(path=str(path), content="x")), connect, apply=True, lock_dir=locks)
    report.raise_errors()
    assert report.outcomes[0].applied == ()


def test_what_was_changed_by_hand_goes_as_well(connect: Connections, locks: str, tmp_path: Path) -> None:
    """A file of another content than the stage has is none that moved between plan and apply."""
    path = tmp_path / "f"
    path.write_text("by hand")
    wanted = stage(File(path=str(path), content="x"))
    converge(wanted, connect, apply=True, absent=True, lock_dir=locks).raise_errors()
    assert not path.exists()


def test_a_cut_link_says_what_was_done(start_sshd: Callable[[], Server], locks: str, tmp_path: Path) -> None:
    """The connection dies in the middle of an apply: named, with what was done; the next run goes on."""
    server = start_sshd()
    connect = Connections(server.fleet(server.host("a")))

    class Slow(File):
        def steps(self, actual: Self | None) -> Iterator[str]:
            yield f"touch {tmp_path}/started; sleep 3"
            yield from super().steps(actual)

    wanted = stage(File(path=str(tmp_path / "first"), content="1"), Slow(path=str(tmp_path / "second"), content="2"))

    def cut() -> None:
        while not (tmp_path / "started").exists():
            time.sleep(0.05)
        for child in subprocess.run(
            ["pgrep", "-P", str(server.process.pid)], capture_output=True, text=True, check=True
        ).stdout.split():
            os.kill(int(child), signal.SIGKILL)

    thread = threading.Thread(target=cut)
    thread.start()
    report = converge(wanted, connect, apply=True, lock_dir=locks)
    thread.join()
    with pytest.raises(Truncated, match=r"done: file:.*first; not known or not tried: file:.*second"):
        report.raise_errors()
    time.sleep(3.5)
    again = Connections(server.fleet(server.host("a")))
    converge(wanted, again, apply=True, lock_dir=locks).raise_errors()
    assert (tmp_path / "second").read_text() == "2"
    again.close()


def test_an_interrupted_write_leaves_the_old_file(connect: Connections, locks: str, tmp_path: Path) -> None:
    """A left-over of a killed run is neither taken for the file nor in the way."""
    path = tmp_path / "f"
    path.write_text("old")
    (tmp_path / "f.slipway-new").mkdir()
    file = File(path=str(path), content="new")
    up(file, connect=connect, lock_dir=locks)
    assert path.read_text() == "new"
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("f")) == ["f"]


def test_a_full_disk_is_reported_alone(sshd: Server, locks: str, tmp_path: Path) -> None:
    """A host whose disk is full fails by name, and the other host is done."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small filesystem")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], check=True)
    try:
        connect = Connections(sshd.fleet(sshd.host("a"), sshd.host("b", port=sshd.host("b").port)))
        wanted = Stage(
            name="test",
            hosts={
                "a": (File(path=str(small / "f"), content="x" * 200_000),),
                "b": (File(path=str(tmp_path / "g"), content="x"),),
            },
        )
        report = converge(wanted, connect, apply=True, lock_dir=locks)
        assert {o.host for o in report.outcomes if o.error} <= {"a", "b"}
        failed = next(o for o in report.outcomes if o.host == "a")
        assert "No space left" in str(failed.error)
        connect.close()
    finally:
        subprocess.run(["umount", small], check=True)


def test_two_hundred_probes_are_one_trip(connect: Connections, tmp_path: Path) -> None:
    """Whatever the number of resources, a gather is one script."""
    files = [File(path=str(tmp_path / f"f{n}"), content="x") for n in range(200)]
    report = converge(stage(*files), connect, apply=False)
    assert report.outcomes[0].trips == 1
    assert len(report.outcomes[0].planned) == 200


def test_a_banner_is_no_frame(connect: Connections, locks: str, tmp_path: Path) -> None:
    """Output that looks like a frame is the content of the frame it stands in."""
    path = tmp_path / "f"
    up(File(path=str(path), content="\x1e0=0\n\x1eend\n"), connect=connect, lock_dir=locks)
    assert path.read_text() == "\x1e0=0\n\x1eend\n"


def test_law_of_weights(connect: Connections, locks: str, tmp_path: Path) -> None:
    """Weights copied from a path keep the law; an altered, a missing and a truncated file are each named."""
    source = tmp_path / "source"
    source.mkdir()
    _checkpoint(source)
    manifest = _manifest(source)
    target = tmp_path / "models" / "it's tiny"
    weights = Weights(path=str(target), manifest=manifest, source=str(source), records=str(tmp_path / "records"))
    law(weights, connect=connect, locks=locks)
    up(weights, connect=connect, lock_dir=locks)
    (target / "tokenizer.json").write_text("altered")
    (target / "b.safetensors").unlink()
    diff = converge(stage(weights), connect, apply=False).outcomes[0].planned[0]
    assert "tokenizer.json" in diff
    assert "b.safetensors" in diff
    up(weights, connect=connect, lock_dir=locks)
    assert (target / "tokenizer.json").read_text() == "{}"
    here = replace(weights, path=str(source), source="")
    (source / "modeling.py").write_text("altered")
    report = converge(stage(here), connect, apply=True, lock_dir=locks)
    with pytest.raises(StepFailed, match=r"modeling\.py differs"):
        report.raise_errors()


def test_weights_without_a_manifest_are_held_to_what_was_seen_first(
    connect: Connections, locks: str, tmp_path: Path
) -> None:
    """Trust on first verification: the index must agree with the shards, and later changes are named."""
    folder = tmp_path / "model"
    folder.mkdir()
    _checkpoint(folder)
    weights = Weights(path=str(folder), manifest=(), records=str(tmp_path / "records"))
    up(weights, connect=connect, lock_dir=locks)
    assert not converge(stage(weights), connect, apply=False).changed
    (folder / "a.safetensors").write_bytes((folder / "a.safetensors").read_bytes()[:-1])
    report = converge(stage(weights), connect, apply=True, lock_dir=locks)
    with pytest.raises(StepFailed, match=r"a\.safetensors has \d+ bytes, its header says"):
        report.raise_errors()


def _checkpoint(folder: Path) -> None:
    for name in ("a", "b"):
        header = json.dumps({"w": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}).encode()
        (folder / f"{name}.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"w": "a.safetensors", "v": "b.safetensors"}})
    )
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "modeling.py").write_text("pass\n")


def _manifest(folder: Path) -> tuple[str, ...]:
    return tuple(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_size} {path.name}"
        for path in sorted(folder.iterdir(), key=lambda p: p.name)
    )


def test_errors_of_several_hosts_are_one_message(sshd: Server, locks: str, tmp_path: Path) -> None:
    """Each failed host is in the message, with what was done on it."""
    connect = Connections(sshd.fleet(sshd.host("a"), sshd.host("b")))
    wanted = Stage(name="test", hosts={h: (File(path=str(tmp_path / h / "f"), content="x"),) for h in ("a", "b")})
    report = converge(wanted, connect, apply=True, lock_dir=locks)
    errors = {o.host: o.error for o in report.outcomes}
    assert set(errors) == {"a", "b"}
    with pytest.raises(Failed, match="2 of 2 hosts failed"):
        report.raise_errors()
    connect.close()
    shutil.rmtree(tmp_path, ignore_errors=True)
