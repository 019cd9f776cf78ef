"""The nearest name is the one that difflib finds, at less cost."""

import difflib

import pytest

from infra.flags.near import CUTOFF, nearest_name, nearest_value
from infra.flags.table import load

OPTIONS = [name for name in load("vllm", "0.19.1").spellings if name.startswith("--")]

CASES: list[tuple[str, str | None]] = [
    ("--tensor-paralel-size", "--tensor-parallel-size"),
    ("--tensorparallelsize", "--tensor-parallel-size"),
    ("--size-tensor-parallel", "--tensor-parallel-size"),
    ("--Tensor-Parallel-Size", "--tensor-parallel-size"),
    ("--nothing-like-it", None),
    ("--" + "x" * 100, None),
    ("", None),
]


@pytest.mark.parametrize(("word", "expected"), CASES)
def test_nearest_name(word: str, expected: str | None) -> None:
    assert nearest_name(word, OPTIONS) == expected


@pytest.mark.parametrize("cut", range(2, 12))
def test_what_difflib_finds(cut: int) -> None:
    for name in OPTIONS[::5]:
        word = name[:cut] + "qz" + name[cut + 1 :]
        assert [nearest_name(word, OPTIONS)] == difflib.get_close_matches(word, OPTIONS, n=1, cutoff=CUTOFF) or [None]


def test_short_values_may_differ_more() -> None:
    assert nearest_value("fp9", ("fp8", "auto")) == "fp8"
