"""Commands of the set-up: their output, their failures, their signs of life, and their end."""

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.progress import Progress, SetupFailed, Stopped

FIX = "do this"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_output_is_returned_and_logged(tmp_path: Path) -> None:
    found = Progress(logs=tmp_path).run("part", python("print('one'); print('two', end='')"), doing="x", fix=FIX)
    assert found == "one\ntwo"
    assert (tmp_path / "setup-part.log").read_text().endswith("one\ntwo")


def test_echo_shows_each_line_with_its_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Progress(logs=tmp_path).run("part", python("print('one')"), doing="working", fix=FIX, echo=True)
    assert capsys.readouterr().out.splitlines() == ["[   0 s] part     working", "[   0 s] part     one"]


def test_a_failure_says_what_where_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SetupFailed) as caught:
        Progress(logs=tmp_path).run("part", python("print('why'); raise SystemExit(7)"), doing="x", fix=FIX)
    message = str(caught.value)
    for words in ("part: ", "status 7", "    why", str(tmp_path / "setup-part.log"), f"what to do: {FIX}"):
        assert words in message


def test_a_silent_command_gives_signs_of_life(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = "import time; print('x', flush=True); time.sleep(0.35)"
    progress = Progress(logs=tmp_path, sign_of_life_s=0.1)
    progress.run("part", python(code), doing="working", fix=FIX, measure=lambda lines: f": {len(lines)} done")
    assert "still working: 1 done" in capsys.readouterr().out


def test_stop_ends_children_of_children_and_starts_no_more(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    start = "import subprocess; child = subprocess.Popen(['sleep', '60'])"
    code = f"{start}; open({str(pid_file)!r}, 'w').write(str(child.pid)); child.wait()"
    progress = Progress(logs=tmp_path)
    ends: list[type[BaseException]] = []

    def work() -> None:
        try:
            progress.run("part", python(code), doing="x", fix=FIX)
        except Stopped as stopped:
            ends.append(type(stopped))

    worker = threading.Thread(target=work)
    worker.start()
    wait_until(lambda: pid_file.exists() and pid_file.read_text() != "")
    progress.stop()
    worker.join(10)
    assert ends == [Stopped]
    wait_until(lambda: not is_running(int(pid_file.read_text())))
    with pytest.raises(Stopped):
        progress.run("part", python(""), doing="x", fix=FIX)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"
