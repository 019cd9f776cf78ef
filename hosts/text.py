"""Text from machines, fit for a terminal: what would move its cursor or pass as a line of ours is shown escaped."""

import re

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""C0, DEL, C1, ends of lines and paragraphs, what turns the direction of writing, and lone surrogates (no UTF-8)."""


def printable(text: str, keep: str = "\n") -> str:
    r"""The text with every control character as `\x1b` or `\u202e`, but for those in `keep`; nothing else is changed.

    A field within a line keeps none, so that a line end in it can't make a line of its own.
    """
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that `surrogateescape` carried through
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
