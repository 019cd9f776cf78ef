"""Values and names as problems show them: what was found, and the name that was probably meant."""

import difflib
from collections.abc import Sequence


def describe(value: object) -> str:
    """A value as an error message shows it."""
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def nearest(word: str, choices: Sequence[str]) -> str | None:
    """The closest valid name, None where none is close."""
    found = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    return found[0] if found else None
