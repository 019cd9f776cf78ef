"""The order of releases: 0.4.9.post6 before 0.4.10, 1.3.0rc3 before 1.3.0, a main branch last."""

import re
from functools import cache

_PART = re.compile(r"[0-9]+|[a-z]+")
_SUFFIX = {"dev": (-4,), "a": (-3,), "b": (-2,), "rc": (-1,), "post": (0, 1), "main": (1 << 30,)}


@cache
def key(release: str) -> tuple[int, ...]:
    """What releases are ordered by; local versions (`+cu128`) don't count."""
    numbers: list[int] = []
    for part in _PART.findall(release.lower().removeprefix("v").partition("+")[0]):
        if part.isdigit():
            numbers.append(int(part))
            continue
        while numbers and numbers[-1] == 0:
            numbers.pop()
        numbers += _SUFFIX.get(part, (0,))
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return (*numbers, 0)


def within(release: str, since: str = "", below: str = "") -> bool:
    """Whether the release is at least `since` and older than `below`; an unknown one is within no bound."""
    if not release and (since or below):
        return False
    here = key(release)
    return (not since or key(since) <= here) and (not below or here < key(below))
