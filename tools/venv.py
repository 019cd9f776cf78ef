"""Makes the work tree's `.venv` from the hash-pinned requirements."""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.places import PYTHON, REQUIREMENTS, ROOT, VENV
from tools.progress import Progress, Words

FILES = (REQUIREMENTS / "runtime.txt", REQUIREMENTS / "dev.txt")
STAMP = VENV / ".slipway"
OURS = ("hosts", "infra", "lab", "roles", "tools", "tasks.py")
BASE_PYTHON: str = getattr(sys, "_base_executable", sys.executable)  # not .venv's own, which may be the one running


def digest() -> str:
    """What the environment is made from: the pinned packages, the interpreter and the work tree's place."""
    python = (
        f"{sys.version_info.major}.{sys.version_info.minor} {sys.base_prefix}"  # no patch: a venv survives its upgrade
    )
    parts = [python.encode(), str(ROOT).encode(), *(file.read_bytes() for file in FILES)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def is_done() -> bool:
    return PYTHON.exists() and STAMP.exists() and STAMP.read_text() == digest()


def make(progress: Progress) -> None:
    """Makes or mends it: pip leaves alone what is already there in the pinned version."""
    STAMP.unlink(missing_ok=True)
    create: Words = [BASE_PYTHON, "-m", "venv", *(() if _is_ours() else ("--clear",)), VENV]
    progress.run("venv", create, doing="making .venv", fix="remove the folder .venv, then run `make setup` again")
    files = [word for file in FILES for word in ("-r", file)]
    install: Words = [PYTHON, "-m", "pip", "install", "--require-hashes", "--disable-pip-version-check", *files]
    progress.run(
        "venv",
        install,
        doing="installing the pinned Python packages",
        fix="see that a PyPI mirror answers (`pip config list` shows which); a hash that does not match means that the"
        " mirror serves other bytes than those pinned in requirements/",
        measure=fetched,
    )
    _site_packages().joinpath("slipway.pth").write_text(f"{ROOT}\n")
    # where PYTHONDONTWRITEBYTECODE is set nobody else does, and each command would compile all that it imports
    compiled: Words = [PYTHON, "-m", "compileall", "-q", *(ROOT / name for name in OURS)]
    progress.run("venv", compiled, doing="compiling Slipway itself", fix="see that you may write to the work tree")
    STAMP.write_text(digest())


def fetched(lines: Sequence[str]) -> str:
    """For the sign of life: how far pip has come."""
    if any(line.startswith("Installing collected packages") for line in lines):
        return ": unpacking"
    return f": {sum(line.startswith('Collecting ') for line in lines)} packages fetched"


def _is_ours() -> bool:
    """Whether the `.venv` there was made with this interpreter; another one's is replaced as a whole."""
    config = VENV / "pyvenv.cfg"
    home = f"home = {Path(BASE_PYTHON).resolve().parent}"
    return PYTHON.exists() and config.exists() and home in config.read_text().splitlines()


def _site_packages() -> Path:
    return VENV / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
