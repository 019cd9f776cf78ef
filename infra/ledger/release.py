"""Releases compared by their numbers: `0.18.2rc1.dev73` is 0.18.2, whatever was built into it."""

import re


def numbers(release: str) -> tuple[int, int, int]:
    """(major, minor, patch) of a release; what is not there is 0."""
    found = [int(word) for word in re.findall(r"\d+", release.partition("+")[0])[:3]]
    return (found[0] if found else 0, found[1] if len(found) > 1 else 0, found[2] if len(found) > 2 else 0)


def since(release: str, first: str) -> bool:
    """Whether a release is `first` or newer; one that is not known ("") counts as the newest."""
    return not release or numbers(release) >= numbers(first)
