"""Bars of a terminal: what fills something, each part beginning where the one before it ended; Unicode or ASCII."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

UNICODE = {"weights": "█", "work": "▓", "cache": "▒", "free": "░", "missing": "!"}
ASCII = {"weights": "#", "work": "=", "cache": "+", "free": ".", "missing": "!"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part: `kind` is weights, work, cache, free or missing; `inner` is a piece of the last that is not inner."""

    name: str
    gib: float
    kind: str
    inner: bool = False


def shows(encoding: str | None) -> bool:
    """Whether a terminal of that encoding can show the blocks."""
    try:
        "".join((*UNICODE.values(), "…")).encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def bar(begin: float, end: float, whole: float, cells: int, ink: str) -> str:
    """A bar from `begin` to `end` of `whole`; what is there at all shows."""
    scale = cells / whole if whole > 0 else 0.0
    first = min(cells - 1, round(begin * scale))
    last = min(cells, max(first + 1, round(end * scale)))
    return " " * first + ink * (last - first)


def waterfall(parts: Sequence[Part], whole: float, *, width: int, ascii_only: bool) -> Iterator[str]:
    """A row a part: name, GiB and bar."""
    inks = ASCII if ascii_only else UNICODE
    names = max(len(part.name) + 2 * part.inner for part in parts)
    numbers = max(len(f"{part.gib:.1f}") for part in parts)
    cells = max(10, width - names - numbers - 4)
    whole = max(whole, filled(parts))
    at = inner_at = 0.0
    for part in parts:
        begin = inner_at if part.inner else at
        inner_at = begin + part.gib if part.inner else at
        drawn = bar(begin, begin + part.gib, whole, cells, inks[part.kind])
        name = ("  " if part.inner else "") + part.name
        row = f"{name:<{names}}  {part.gib:>{numbers}.1f}  {drawn}"
        yield row.rstrip()
        at += 0.0 if part.inner or part.kind == "missing" else part.gib


def filled(parts: Sequence[Part]) -> float:
    """How far the parts reach; what is missing goes on from what is there, and moves nothing."""
    at = furthest = 0.0
    for part in (part for part in parts if not part.inner):
        furthest = max(furthest, at + part.gib)
        at += 0.0 if part.kind == "missing" else part.gib
    return furthest
