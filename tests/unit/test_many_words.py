"""`enroll HOST HOST…`: the free words of a command line become one option, and nothing else moves."""

import re
import subprocess

import pytest
from invoke.parser.context import ParserContext

import tasks
from tools.many_words import asked_for_help, joined, parser_contexts, usage_error
from tools.places import PYTHON, ROOT

CONTEXTS: dict[str, ParserContext] = {str(context.name): context for context in parser_contexts(tasks.ns)}


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("enroll --fleet f a b c", "enroll --hosts=a,b,c --fleet f"),
        ("enroll a b --fleet f c", "enroll --hosts=a,b,c --fleet f"),
        ("enroll a --accept-new b --fleet f --port=22 c", "enroll --hosts=a,b,c --accept-new --fleet f --port=22"),
        ("enroll a,b x=c --json", "enroll --hosts=a,b,x=c --json"),
        ("enroll a b plan -s lab", "enroll --hosts=a,b plan -s lab"),
        ("enroll --help", "enroll --help"),
        ("enroll", "enroll"),
        ("enroll --fleet", "enroll --fleet"),
        ("plan -s lab", "plan -s lab"),
        ("plan -s lab enroll a b", "plan -s lab enroll --hosts=a,b"),
        ("", ""),
    ],
)
def test_joined(words: str, wanted: str) -> None:
    assert joined(words.split(), CONTEXTS, "enroll", "hosts") == wanted.split()


@pytest.mark.parametrize(
    ("words", "task"),
    [
        ("lint --help", "lint"),
        ("fit -h", "fit"),
        ("flags.extract --help", "flags.extract"),
        ("lint serve.sh", ""),
        ("plan --help", ""),  # Invoke's own way does it
        ("plan -h", "plan"),
        ("", ""),
    ],
)
def test_help_of_a_task_that_wants_a_word(words: str, task: str) -> None:
    assert asked_for_help(words.split(), CONTEXTS) == task


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("plan -s lab", ""),
        ("plan lab", "No idea what 'lab' is"),
        ("plan --jsn", "No idea what '--jsn' is"),
        ("lint", "did not receive required positional arguments: 'file'"),
        ("fit kimi-k2 --nodes x", "--nodes: found 'x', wanted a number"),
        ("fit kimi-k2 --host-ram-gib=much", "found 'much', wanted a number"),
    ],
)
def test_wrong_words_are_wrong_input(words: str, says: str) -> None:
    found = usage_error(words.split(), list(CONTEXTS.values()), ParserContext())
    assert says in found
    assert bool(found) is bool(says)


def test_options_keep_their_texts() -> None:
    """Invoke takes them out of a task when it makes a parser of it; they are for `--help`."""
    parser_contexts(tasks.ns)
    assert tasks.plan.help["stack"] == tasks.STACK


@pytest.mark.parametrize("name", sorted(tasks.ns.task_names))
def test_help_shows_an_example_and_every_option(name: str) -> None:
    command = [str(PYTHON.parent / "invoke"), name, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Example: invoke" in done.stdout
    silent = [line for line in done.stdout.splitlines() if re.match("  -", line) and not re.search(r"\S {2,}\S", line)]
    assert not silent, "an option says nothing"
