"""Scripts of many frames, run by a real bash, and what is read back from what they print."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from subprocess import PIPE

import pytest

from hosts import shell
from hosts.shell import CHANGED, FAILED, LOCKED, MARK, PROGRESS, Frame, apply_script, parse_frames, probe_script


def bash(script: str) -> subprocess.CompletedProcess[bytes]:
    """As `hosts.remote` runs it: from standard input."""
    return subprocess.run(
        ["bash", "-s"], input=script.encode("utf-8", "surrogateescape"), capture_output=True, check=False, timeout=60
    )


def run(script: str) -> tuple[int, dict[str, Frame], bool]:
    done = bash(script)
    frames, complete = parse_frames(script, done.stdout.decode("utf-8", "surrogateescape"))
    return done.returncode, frames, complete


PROBES: list[tuple[str, str, Frame]] = [
    ("text", "echo a; echo b", Frame(out="a\nb\n", status=0)),
    ("no line end", "printf a", Frame(out="a", status=0)),
    ("nothing", "true", Frame(out="", status=0)),
    ("line ends alone", "printf '\\n\\n'", Frame(out="\n\n", status=0)),
    ("both streams in order", "echo a; echo b >&2; echo c", Frame(out="a\nb\nc\n", status=0)),
    ("a failure", "echo a; false", Frame(out="a\n", status=1)),
    ("an exit ends its own frame alone", "echo a; exit 7; echo b", Frame(out="a\n", status=7)),
    ("a signal", "kill -9 $BASHPID", Frame(out="", status=137)),
    ("standard input is closed", "cat; read -r x; echo $?", Frame(out="1\n", status=0)),
    ("a comment at the end", "echo a # not the end", Frame(out="a\n", status=0)),
    ("a here-document", "cat <<'X'\na\nX", Frame(out="a\n", status=0)),
    ("variables stay inside", "slipway_token=x; slipway_status=9; cd /; echo a", Frame(out="a\n", status=0)),
    ("bytes that are no UTF-8", "printf '\\377\\200'", Frame(out="\udcff\udc80", status=0)),
    ("NUL and carriage return", "printf 'a\\0b\\r\\n'", Frame(out="a\0b\r\n", status=0)),
    ("what looks like frames", f"printf '{MARK}0=0\\n{MARK}end\\n'", Frame(out=f"{MARK}0=0\n{MARK}end\n", status=0)),
    (
        "the frames of another script",
        f"printf '{MARK}0123456789ab 0=5\\n{MARK}0123456789ab end\\n'",
        Frame(out=f"{MARK}0123456789ab 0=5\n{MARK}0123456789ab end\n", status=0),
    ),
    ("progress", f"echo a; printf '{PROGRESS}50 %%\\n'; echo b", Frame(out="a\nb\n", status=0)),
    ("progress at the end", f"echo a; printf '{PROGRESS}50 %%'", Frame(out="a\n", status=0)),
    ("progress alone", f"printf '{PROGRESS}1\\n{PROGRESS}2\\n'", Frame(out="", status=0)),
    (
        "that byte inside a line",
        f"printf 'a{PROGRESS}b\\nc\\f{PROGRESS}d\\r{PROGRESS}e\\n'",
        Frame(out=f"a{PROGRESS}b\nc\f{PROGRESS}d\r{PROGRESS}e\n", status=0),
    ),
]


def test_a_frame_a_probe_in_one_script() -> None:
    """Whatever one of them does, the next ones are not touched by it."""
    status, frames, complete = run(probe_script([probe for _, probe, _ in PROBES]))
    assert (status, complete) == (0, True)
    assert {PROBES[int(name)][0]: frame for name, frame in frames.items()} == {row[0]: row[2] for row in PROBES}


def test_what_stands_around_the_frames_is_no_frame() -> None:
    """Banners before, a logout's text after."""
    script = probe_script(["echo a"])
    out = bash(script).stdout.decode()
    wanted = ({"0": Frame(out="a\n", status=0)}, True)
    assert parse_frames(script, f"Welcome!\n{MARK}0=1\n{out}Bye\n") == wanted
    assert parse_frames(script, "") == ({}, False)
    assert parse_frames(script, "Welcome!\nsudo: a password is required\n") == ({}, False)


def test_each_script_has_a_token_of_its_own() -> None:
    """Also where the text is the same: whoever knows it can't write frames into what is read."""
    first, second = probe_script(["echo a"]), probe_script(["echo a"])
    assert shell.token_of(first) != shell.token_of(second)
    assert parse_frames(first, bash(second).stdout.decode()) == ({}, False)


def test_output_that_was_cut_is_a_part_and_says_so() -> None:
    """Cut anywhere: never a frame that is not whole, never `complete` before the end."""
    script = probe_script(["printf 'one\\n\\n'", "false", "echo three"])
    out = bash(script).stdout.decode()
    whole = parse_frames(script, out)[0]
    assert list(whole) == ["0", "1", "2"]
    end = out.rindex(" end")
    for cut in range(end):
        frames, complete = parse_frames(script, out[:cut])
        assert not complete
        assert frames.items() <= whole.items(), f"cut at {cut}: {frames}"
    assert parse_frames(script, out) == (whole, True)


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        ("{m} 0\na\n", {}),
        ("{m} 0\na\n{m} 1\nb\n\n{m} 1=0\n{m} end\n", {"1": Frame(out="b\n", status=0)}),
        ("{m} 0\na\n\n{m} 1=0\n{m} end\n", {}),
        ("{m} 0\na\n\n{m} 0=\n{m} end\n", {}),
        ("{m} 0=0\n{m} end\n", {}),
    ],
    ids=["at the end", "before another", "closed as another", "without a status", "never opened"],
)
def test_a_frame_that_was_never_closed_is_none(out: str, expected: dict[str, Frame]) -> None:
    script = probe_script(["echo a", "echo b"])
    frames, _ = parse_frames(script, out.replace("{m}", MARK + shell.token_of(script)))
    assert frames == expected


def steps(*commands: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    return [(str(n), list(lines)) for n, lines in enumerate(commands)]


def applying(
    *commands: Sequence[str],
    checks: Sequence[tuple[str, str]] = (),
    lock_dir: Path | None = None,
    secrets: dict[str, str] | None = None,
) -> str:
    return apply_script(
        steps(*commands),
        checks=checks,
        holder="eva's desk",
        lock_dir=str(lock_dir) if lock_dir else None,
        secrets=secrets or {},
    )


def test_a_script_that_was_cut_does_nothing(tmp_path: Path) -> None:
    """Bash runs nothing of a compound command before it has read its end."""
    lock = tmp_path / "locks"
    script = applying([f"touch {tmp_path}/one"], [f"touch {tmp_path}/two"], lock_dir=lock)
    for cut in range(0, len(script) - 2, 23):
        done = bash(script[:cut])
        assert parse_frames(script, done.stdout.decode()) == ({}, False)
        assert list(tmp_path.iterdir()) == [], f"something ran of the first {cut} characters"
    assert run(script)[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["locks", "one", "two"]


def test_steps_run_until_one_fails(tmp_path: Path) -> None:
    """Inside a step the first failing command ends it; what fails in a pipe and an unset variable count."""
    for bad in ("false", "false | true", 'echo "$never_set"', "cd /nowhere/at/all"):
        script = applying(["echo a", "cd /tmp"], ["echo b", bad, f"touch {tmp_path}/no"], [f"touch {tmp_path}/no"])
        status, frames, complete = run(script)
        assert (status, complete) == (FAILED, True)
        assert [(name, frame.status == 0) for name, frame in frames.items()] == [("0", True), ("1", False)]
        assert frames["1"].out.startswith("b\n")
    assert not (tmp_path / "no").exists()


def test_secrets_are_variables_and_leave_no_trace(tmp_path: Path) -> None:
    """Not in the environment of what the steps start; a value is quoted."""
    variable = shell.secret_variable("api-key")
    assert variable == "SLIPWAY_SECRET_API_KEY"
    script = applying([f'printf %s "${variable}" >{tmp_path}/value', "env"], secrets={"api-key": "a'b $(id)"})
    status, frames, _ = run(script)
    assert status == 0
    assert (tmp_path / "value").read_text() == "a'b $(id)"
    assert variable not in frames["0"].out


def test_nothing_is_done_where_a_probe_prints_something_else_than_at_the_plan(tmp_path: Path) -> None:
    probe = f"cat {tmp_path}/state 2>&1; exit 3"
    before = run(probe_script([probe]))[1]["0"].out
    assert "No such file" in before
    for unchanged in ("printf '\\377\\n\\n'", "printf 'no line end'", "true"):
        out = run(probe_script([unchanged]))[1]["0"].out
        assert run(applying(["true"], checks=[(unchanged, out)]))[0] == 0, f"{unchanged}: printed the same"
    script = applying([f"touch {tmp_path}/done"], checks=[("echo same", "same\n"), (probe, before)])
    assert run(script) == (0, {"0": Frame(out="", status=0)}, True)
    (tmp_path / "done").unlink()
    (tmp_path / "state").write_text("moved")
    status, frames, complete = run(script)
    assert (status, complete) == (CHANGED, True)
    assert frames == {"changed": Frame(out="1", status=0)}
    assert not (tmp_path / "done").exists()


def test_a_held_lock_says_who_holds_it(tmp_path: Path) -> None:
    """And what a step leaves running does not hold it."""
    lock = tmp_path / "lock's"
    script = applying([f"sleep 60 >/dev/null 2>&1 & echo $! >{tmp_path}/pid"], lock_dir=lock)
    script = script.replace(f"flock -w {shell.LOCK_PATIENCE_S} ", "flock -w 0 ")
    try:
        assert run(script)[0] == 0
        again = run(script)
    finally:
        subprocess.run(["kill", (tmp_path / "pid").read_text().strip()], check=False)
    assert again[0] == 0
    assert (lock / "slipway.lock").read_text() == "eva's desk\n"
    with subprocess.Popen(
        ["flock", lock / "slipway.lock", "sh", "-c", "echo held; read x"], stdin=PIPE, stdout=PIPE
    ) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == b"held\n"
        locked = run(script)
        held.communicate(b"\n")
    assert locked == (LOCKED, {"locked": Frame(out="eva's desk\n", status=0)}, True)
