"""The whole ledger against start-up logs of vLLM: what `bench/ledger.py` prints."""

from statistics import median

import pytest

from bench.ledger import OURS, compared

COMPARED = list(compared(OURS))


def test_nearly_all_records_are_computed() -> None:
    """Two models are not known: DeepSeek-V4-Pro and sarvam-105b."""
    assert len(COMPARED) == 57


def test_median_errors() -> None:
    assert median(abs(weights - 1) for _, _, weights, _ in COMPARED) < 0.01
    assert median(abs(tokens - 1) for _, _, _, tokens in COMPARED) < 0.05


@pytest.mark.parametrize("gpu", ["H200", "B200"])
def test_on_nvidia_each_is_near(gpu: str) -> None:
    """ROCm counts what its allocator holds as weights, so there some are further off."""
    for record, _, weights, tokens in COMPARED:
        if record["gpu"] == gpu:
            assert abs(weights - 1) < 0.01, record["id"]
            assert abs(tokens - 1) < 0.06, record["id"]


def test_what_ran_is_said_to_fit() -> None:
    assert [record["id"] for record, ours, _, _ in COMPARED if not ours.fits] == []
