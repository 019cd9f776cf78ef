"""Where the tools find things: folders of the work tree, and the cache and state outside it."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STACKS = ROOT / "stacks"
REQUIREMENTS = ROOT / "requirements"
CLI_MODULE = ROOT / "tools" / "cli"


def cache() -> Path:
    """What can be made again: the Pulumi CLI, the lab's images (SLIPWAY_CACHE, else ~/.cache/slipway)."""
    return Path(os.environ.get("SLIPWAY_CACHE") or "~/.cache/slipway").expanduser().absolute()


def state() -> Path:
    """What cannot: Pulumi's state backend (SLIPWAY_STATE, else ~/.local/state/slipway)."""
    return Path(os.environ.get("SLIPWAY_STATE") or "~/.local/state/slipway").expanduser().absolute()
