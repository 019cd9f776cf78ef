"""The valid name that a wrong one was probably meant to be."""

import difflib
import re
from collections.abc import Iterable

CUTOFF = 0.74
LONGEST = 80
"""A word longer than all names is none of them, and comparing it takes long."""


def nearest_value(word: str, names: Iterable[str]) -> str | None:
    """The closest of a few values: what is short may differ in more of its letters."""
    return nearest_name(word, names, cutoff=0.6)


def nearest_name(word: str, names: Iterable[str], cutoff: float = CUTOFF) -> str | None:
    """The closest name: the same words in other order or spelling, else few letters apart; None where none is close."""
    names = list(names)
    if len(word) > LONGEST:
        return None
    plain = _plain(word)
    for name in names:
        if _plain(name) == plain:
            return name
    parts = _parts(word)
    same = [name for name in names if _parts(name) == parts]
    if len(same) == 1:
        return same[0]
    close = difflib.get_close_matches(word.lower(), [name.lower() for name in names], n=1, cutoff=cutoff)
    if close:
        return next(name for name in names if name.lower() == close[0])
    inside = [name for name in names if len(parts) > 1 and parts <= _parts(name)] or [
        name for name in names if len(_parts(name)) > 1 and _parts(name) <= parts
    ]
    return min(inside, key=len) if len(inside) == 1 else None


def _plain(name: str) -> str:
    return re.sub(r"[-_.\s]", "", name).lower()


def _parts(name: str) -> frozenset[str]:
    """The words of a name, without the ones that say only on or off, and without plural."""
    words = re.split(r"[-_.\s]+", name.lower())
    return frozenset(
        re.sub(r"(?<=..)s$", "", word) for word in words if word and word not in ("enable", "enabled", "use")
    )
