"""Text from machines on a terminal: nothing in it moves the cursor, colours, or makes a line of its own."""

import pytest

from hosts.text import printable

CASES = [
    ("plain", "vLLM serves Kimi-K2, 8 GPUs, Größe: 97 %\n", "vLLM serves Kimi-K2, 8 GPUs, Größe: 97 %\n"),
    ("colour", "\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
    ("title of the window", "\x1b]0;root@login\x07", r"\x1b]0;root@login\x07"),
    ("the same by one byte", "\x9d0;x\x9c\x9b2J", r"\x9d0;x\x9c\x9b2J"),
    ("back over the line", "failed\r\x08ready", r"failed\x0d\x08ready"),
    ("NUL and DEL", "a\0b\x7f", r"a\x00b\x7f"),
    ("other ends of lines", "a\x0bb\x85c\u2028d\u2029", r"a\x0bb\x85c\u2028d\u2029"),
    ("from right to left", "a\u202eb\u2066c\u2069", r"a\u202eb\u2066c\u2069"),
    ("bytes that are no UTF-8", b"a\xff\x9b".decode("utf-8", "surrogateescape"), r"a\xff\x9b"),
    ("half a pair", "\ud83d", r"\ud83d"),
    ("a tab", "a\tb", r"a\x09b"),
]


@pytest.mark.parametrize(("text", "shown"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_printable(text: str, shown: str) -> None:
    """It can be written to a terminal, and done twice it is the same."""
    assert printable(text) == shown
    assert printable(shown) == shown
    shown.encode("utf-8")


def test_what_is_kept() -> None:
    assert printable("a\tb\nc", keep="\t\n") == "a\tb\nc"
    assert printable("a\tb\nc", keep="") == r"a\x09b\x0ac"
