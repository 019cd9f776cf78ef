"""Text of a stack file, held to its kind."""

import re

from hosts.schema import MAX_TEXT, Kind, Reader, describe

RELEASE = Kind(pattern=r"[0-9][0-9A-Za-z.+-]*", wanted='a version in quotes, as "0.19.1"')


def worded(reader: Reader, key: str, kind: Kind, *, default: str | None = "") -> str:
    """Text of a kind, or a problem in words; an absent one is `default`, and a problem where that is None."""
    value = reader.raw(key)
    if value is None:
        if default is None:
            reader.problem(reader.at(key), "nothing", kind.wanted)
    elif not isinstance(value, str):
        reader.text(key)  # it says how to write a number as text
    elif len(value) <= MAX_TEXT and re.fullmatch(kind.pattern, value):
        return value
    else:
        reader.problem(reader.at(key), describe(value), kind.wanted)
    return default or ""


def quoted(reader: Reader, key: str, kind: Kind) -> str:
    """Text that looks like a number; unquoted it would be one, and change."""
    value = reader.raw(key)
    if isinstance(value, int | float) and not isinstance(value, bool):
        reader.problem(
            reader.at(key),
            f"the number {value}",
            "text in quotes",
            why="Pulumi rewrites the file, and an unquoted 1.20 becomes 1.2",
            fix='put it in quotes: "…"',
        )
        return ""
    return worded(reader, key, kind, default=None)
