"""Where the lab keeps things: the cache outlives `lab.down`, the run folders do not."""

import os
from pathlib import Path


def cache() -> Path:
    """The cache of all of Slipway; SLIPWAY_CACHE moves it."""
    return Path(os.environ.get("SLIPWAY_CACHE") or "~/.cache/slipway").expanduser().absolute()


def lab() -> Path:
    """Images, keys and shared storage; `lab.down --purge` removes them."""
    return cache() / "lab"


def storage() -> Path:
    """The stand-in for a shared filesystem, `/storage` in every node."""
    return lab() / "storage"


def disks() -> Path:
    """One folder a node: what it wrote over the image, and its console log."""
    return lab() / "run"


def run() -> Path:
    """What must be known to undo the lab; gone at reboot, as is what it describes."""
    return Path("/run/slipway-lab")


def lock() -> Path:
    return Path("/run/slipway-lab.lock")


def mirrors() -> dict[str, Path]:
    """What every node sees read-only, by its path in the node."""
    return {f"/mirror/{name}": cache() / name for name in ("wheels", "channel", "checkpoints", "images")}
