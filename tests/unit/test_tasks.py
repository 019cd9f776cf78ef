"""The command line: exit codes, one JSON document and nothing else on standard output, and no traceback."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import Task

import tasks
from hosts.errors import Blocked, Failed, InputError, SlipwayError
from hosts.problem import Problem

ROOT = Path(__file__).parents[2]
INVOKE = Path(sys.executable).with_name("invoke")


def code(task: Task, **options: object) -> int:  # type: ignore[type-arg]
    """The exit code of a task that fails."""
    with pytest.raises(Exit) as ended:
        task(Context(), **options)
    return ended.value.code


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (InputError([Problem(where="$.port", found="'x'", wanted="a number")]), 2),
        (Blocked(["n1: requirement:os: found Fedora"]), 3),
        (Failed("n1: no answer"), 1),
    ],
)
def test_exit_codes(error: SlipwayError, wanted: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The same in both forms; the message is the whole text, and says once that it is an error."""
    with pytest.raises(Exit) as ended, tasks.expected():
        raise error
    assert ended.value.code == wanted
    assert str(ended.value).startswith("error: ")
    assert str(ended.value).count("error: ") == 1
    with pytest.raises(Exit) as ended, tasks.expected(json=True):
        raise error
    assert (ended.value.code, str(ended.value)) == (wanted, "")
    document = json.loads(capsys.readouterr().out)
    assert (document["error"], document["exit"]) == (str(error), wanted)
    assert len(document["problems"]) == (wanted == 2)


def test_an_interrupt_is_no_traceback() -> None:
    with pytest.raises(Exit, match="run the same command again") as ended, tasks.expected():
        raise KeyboardInterrupt
    assert ended.value.code == 130


@pytest.mark.parametrize("task", [tasks.plan, tasks.status, tasks.logs, tasks.smoke, tasks.teardown, tasks.serve])
def test_an_unknown_stack_is_wrong_input(task: Task) -> None:  # type: ignore[type-arg]
    """Refused before any connection, with the stacks that there are."""
    with pytest.raises(Exit, match=r"'lap'.*dgx-h200.*lab.*did you mean lab") as ended:
        task(Context(), stack="lap")
    assert ended.value.code == 2


def test_an_unknown_fleet_is_wrong_input() -> None:
    assert code(tasks.bootstrap_cluster, fleet="nowhere") == 2


def test_serve_lists_its_candidates() -> None:
    with pytest.raises(Exit, match=r"found no match.*there are: dgx-h200,.*lab") as ended:
        tasks.serve(Context(), engine="nothing")
    assert ended.value.code == 2
    with pytest.raises(Exit, match=r"\d+ stacks that match: dgx-h200,.*lab"):
        tasks.serve(Context(), engine="vllm")
    assert code(tasks.serve, stack="lab", ttl="soon") == 2


def test_a_document_and_a_stream_exclude_each_other() -> None:
    assert code(tasks.logs, stack="lab", follow=True, json=True) == 2


def test_teardown_asks_only_where_someone_can_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal it is refused, and says what to add."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))
    with pytest.raises(Exit, match="--yes") as ended:
        tasks.teardown(Context(), stack="lab")
    assert ended.value.code == 3


@pytest.mark.parametrize("stack", ["lab", "dgx-h200"])
def test_plan_as_a_process(stack: str) -> None:
    """The whole way from the shell: one document on standard output, nothing else anywhere, and no network."""
    done = subprocess.run(
        [INVOKE, "plan", "-s", stack, "--json"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    keys = {"stack", "fleet", "engine", "release", "launcher", "ranks", "command", "stages", "problems"}
    assert keys <= set(json.loads(done.stdout))
    assert done.stderr == ""


def test_errors_as_a_process() -> None:
    done = subprocess.run(
        [INVOKE, "status", "-s", "nope", "--json"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (2, "")
    assert json.loads(done.stdout)["problems"][0]["found"] == "the stack 'nope'"


def test_progress_goes_to_standard_error_and_does_not_chatter(capsys: pytest.CaptureFixture[str]) -> None:
    say = tasks.progress()
    for line in ("installing", "installing", "", "installed"):
        say("n1", line)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [line.split("s  ")[1] for line in shown.err.splitlines()] == ["n1: installing", "n1: installed"]


def test_text_from_machines_does_not_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Results, progress and errors: what a machine or a log has in it is shown escaped; JSON escapes it by itself."""
    tasks.show({}, "lab: pending (\x1b]0;x\x07)\n\tjob 7\u202e", json=False)
    tasks.show({"why": "\x1b[2J\n"}, "", json=True)
    tasks.progress()("n1", "\x1b[1A installed\nn2: installed")
    shown = capsys.readouterr()
    text, _, document = shown.out.partition("{")
    assert text == "lab: pending (\\x1b]0;x\\x07)\n\tjob 7\\u202e\n"
    assert json.loads("{" + document) == {"why": "\x1b[2J\n"}
    assert shown.err.endswith("n1: \\x1b[1A installed\\x0an2: installed\n")
    assert "\x1b" not in shown.out + shown.err
    tasks.show_line("(EngineCore)\t\x1b[2Jready\r")
    assert capsys.readouterr().out == "(EngineCore)\t\\x1b[2Jready\\x0d\n"
    with pytest.raises(Exit) as ended, tasks.expected():
        raise Failed("n1: a step exited 1\n    \x1b[31mno\udcff")
    assert str(ended.value) == "error: n1: a step exited 1\n    \\x1b[31mno\\xff"


def test_lives() -> None:
    """This process does; the id of one that was waited for does not."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert tasks.lives(os.getpid())
    assert not tasks.lives(ended.pid)


def test_a_command_without_a_stack(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It takes the one of SLIPWAY_STACK, and shows which; standard output stays the document's."""
    monkeypatch.setenv("SLIPWAY_STACK", "lab")
    tasks.plan(Context(), json=True)
    shown = capsys.readouterr()
    assert json.loads(shown.out)["stack"] == "lab"
    assert shown.err == "stack lab (SLIPWAY_STACK)\n"
    monkeypatch.setenv("SLIPWAY_STACK", "lap")
    assert code(tasks.status) == 2
