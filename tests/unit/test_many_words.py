"""`enroll HOST HOST…`: the free words of a command line become one option, and nothing else moves."""

import pytest
from invoke.parser.context import ParserContext

import tasks
from tools.many_words import joined

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
