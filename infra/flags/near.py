"""The valid name that a wrong one was probably meant to be."""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

CUTOFF = 0.74
LONGEST = 80
"""A word longer than all names is none of them, and comparing it takes long."""


def nearest_value(word: str, names: Iterable[str]) -> str | None:
    """The closest of a few values: what is short may differ in more of its letters."""
    return nearest_name(word, names, cutoff=0.6)


def nearest_name(word: str, names: Iterable[str], cutoff: float = CUTOFF) -> str | None:
    """The closest name: the same words in other order or spelling, else few letters apart; None where none is close."""
    if len(word) > LONGEST:
        return None
    index = _index(tuple(names))
    same = index.plain.get(_plain(word))
    if same is not None:
        return same
    parts = _parts(word)
    equal = index.parts.get(parts, ())
    if len(equal) == 1:
        return equal[0]
    close = _closest(word.lower(), index, cutoff)
    if close is not None:
        return index.lower[close]
    inside = [name for several, found in index.parts.items() if len(parts) > 1 and parts <= several for name in found]
    inside = inside or [
        name for several, found in index.parts.items() if len(several) > 1 and several <= parts for name in found
    ]
    return min(inside, key=len) if len(inside) == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    """Names as they are compared, made once for each table: a search of hundreds of names is to cost little."""

    plain: Mapping[str, str]
    parts: Mapping[frozenset[str], tuple[str, ...]]
    lower: Mapping[str, str]
    letters: Mapping[str, Mapping[str, int]]
    """How often each letter is in each name in lower case."""


@lru_cache(maxsize=64)
def _index(names: tuple[str, ...]) -> _Index:
    parts: dict[frozenset[str], tuple[str, ...]] = {}
    for name in names:
        key = _parts(name)
        parts[key] = (*parts.get(key, ()), name)
    lower = {name.lower(): name for name in reversed(names)}
    return _Index(
        plain={_plain(name): name for name in reversed(names)},
        parts=parts,
        lower=lower,
        letters={name: Counter(name) for name in lower},
    )


def _closest(word: str, index: _Index, cutoff: float) -> str | None:
    """What difflib.get_close_matches finds, less the comparisons that common letters rule out."""
    letters = Counter(word).items()
    bounds: list[tuple[float, str]] = []
    for name, has in index.letters.items():
        length = len(word) + len(name)
        if 2 * min(len(word), len(name)) >= cutoff * length:
            bound = 2 * sum(min(count, has.get(letter, 0)) for letter, count in letters) / length
            if bound >= cutoff:
                bounds.append((bound, name))
    matcher = difflib.SequenceMatcher(b=word)
    best: tuple[float, str] | None = None
    for bound, name in sorted(bounds, reverse=True):
        if best and bound < best[0]:
            break
        matcher.set_seq1(name)
        ratio = matcher.ratio()
        if ratio >= cutoff and (best is None or (ratio, name) > best):
            best = ratio, name
    return best[1] if best else None


def _plain(name: str) -> str:
    return re.sub(r"[-_.\s]", "", name).lower()


def _parts(name: str) -> frozenset[str]:
    """The words of a name, without the ones that say only on or off, and without plural."""
    words = re.split(r"[-_.\s]+", name.lower())
    return frozenset(
        re.sub(r"(?<=..)s$", "", word) for word in words if word and word not in ("enable", "enabled", "use")
    )
