"""`enroll HOST HOST…`: the free words of a command line become one option, and nothing else moves."""

import pytest
from invoke.parser.context import ParserContext

import tasks
from tools.many_words import asked_for_help, joined

CONTEXTS: dict[str, ParserContext] = {str(context.name): context for context in tasks.ns.to_contexts()}


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("enroll --fleet f a b c", "enroll --hosts=a,b,c --fleet f"),
        ("enroll a b --fleet f c", "enroll --hosts=a,b,c --fleet f"),
        ("enroll a --accept-new b -f f --port=22 c", "enroll --hosts=a,b,c --accept-new -f f --port=22"),
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
        ("", ""),
    ],
)
def test_help_of_a_task_that_wants_a_word(words: str, task: str) -> None:
    assert asked_for_help(words.split(), CONTEXTS) == task
