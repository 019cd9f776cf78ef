"""Commands of public documents and the mistakes that people make in them, by release: no false alarm, few misses.

What is right was settled by running each release's own parser (vLLM 0.10.0, 0.19.1, 0.33.0; SGLang 0.4.9.post6, 0.5.9,
0.5.10.post1, 0.5.23; sglang-kt 0.7.2) and, for what is refused behind it, by reading its package.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from hosts.problem import Problem
from infra.lint.lint import lint

HERE = Path(__file__).parent / "corpus"
SHARE_CAUGHT = 0.98
MISSES: Mapping[str, str] = {
    "h021": "a plugin may register a reader of configurations",
    "h071": "Qwen3-235B-A22B of the first release is not in infra/models",
    "w094": "a plugin may register a method of quantisation",
    "w095": "a plugin may register a tokenizer mode",
    "w128": "the reasoning parsers of TensorRT-LLM 1.3.0rc3 are not in the table that was given",
    "w129": "nor are its tool parsers",
    "w208": "the keys of TensorRT-LLM's main branch are not in the table that was given",
    "w280": "of a variable the name is known, and not its values",
}
"""Wrong commands of which lint says nothing, and why."""


def _lines(name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (HERE / name).read_text(encoding="utf-8").splitlines()]


VALID = [(case, str(release)) for case in _lines("valid.jsonl") for release in list(case["releases"])]  # type: ignore[call-overload]
WRONG = _lines("wrong.jsonl")


def _problems(case: Mapping[str, object], release: str) -> tuple[tuple[Problem, ...], int]:
    engine = "sglang-kt" if case["engine"] == "sglang-kt" else None
    result = lint(str(case["text"]), str(case["name"]), engine=engine, release=release)
    return result.problems, len(result.commands)


@pytest.mark.parametrize(("case", "release"), VALID, ids=[f"{case['id']}-{release}" for case, release in VALID])
def test_no_false_alarm(case: Mapping[str, object], release: str) -> None:
    problems, commands = _problems(case, release)
    assert [problem for problem in problems if problem.level == "error"] == []
    assert commands == case["commands"]


def _caught(case: Mapping[str, object]) -> bool:
    token = str(case["token"])
    levels = ("error",) if case["level"] == "error" else ("error", "warning")
    problems, _ = _problems(case, str(case["release"]))
    return any(
        one.level in levels and (token in ("-", one.token) or (one.token or "").startswith(token) or token in one.found)
        for one in problems
    )


def test_the_mistakes_are_caught() -> None:
    missed = {str(case["id"]) for case in WRONG if not _caught(case)}
    assert missed == MISSES.keys()
    assert 1 - len(missed) / len(WRONG) >= SHARE_CAUGHT


def test_the_corpus_is_large() -> None:
    assert len(_lines("valid.jsonl")) >= 150
    assert len(WRONG) >= 200
