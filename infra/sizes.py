"""Sizes of memory as stack files write them, in GiB: SLURM's letters and Kubernetes' quantities."""

import re

_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_SIZE = re.compile(r"([0-9]+)([KMGT]?)(i?)")


def slurm_gib(size: str) -> float:
    """A size of `--mem`: letters are powers of 1024, a bare number is MiB; 0 for "" and for 0, all of a node."""
    found = _SIZE.fullmatch(size)
    return int(found.group(1)) * 1024.0 ** (_POWERS[found.group(2) or "M"] - 3) if found else 0.0


def kubernetes_gib(quantity: str) -> float:
    """A quantity: `Gi` is a power of 1024, `G` of 1000, a bare number bytes; 0 for ""."""
    found = _SIZE.fullmatch(quantity)
    if not found:
        return 0.0
    base = 1024.0 if found.group(3) else 1000.0
    return int(found.group(1)) * base ** _POWERS[found.group(2)] / 1024.0**3


def gib(size: str, launcher: str) -> float:
    """A size as that launcher reads it."""
    return kubernetes_gib(size) if launcher == "kubernetes" else slurm_gib(size)
