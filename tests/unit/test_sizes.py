"""Sizes of memory, as SLURM and Kubernetes read them."""

import pytest

from infra.sizes import gib

SIZES: list[tuple[str, str, float]] = [
    ("slurm", "1800G", 1800),
    ("slurm", "512000M", 500),
    ("slurm", "2T", 2048),
    ("slurm", "1024", 1),
    ("slurm", "0", 0),
    ("slurm", "", 0),
    ("kubernetes", "850Gi", 850),
    ("kubernetes", "512000Mi", 500),
    ("kubernetes", "800G", 745.06),
    ("kubernetes", "1073741824", 1),
    ("kubernetes", "", 0),
]


@pytest.mark.parametrize(("launcher", "size", "wanted"), SIZES)
def test_sizes(launcher: str, size: str, wanted: float) -> None:
    assert gib(size, launcher) == pytest.approx(wanted, rel=1e-4)
