"""An engine's environment as its files say: the Conda lock, pip's hashed requirements, the tools that install it."""

import re
from dataclasses import dataclass
from pathlib import Path

from hosts.errors import InputError
from hosts.problem import Problem
from hosts.state import fingerprint
from hosts.words import nearest

FOLDER = Path(__file__).parent
TOOLS = "py-rattler"
"""The folder of the tool environment, which is installed by pip alone and installs the others."""
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,62}[a-z0-9])?")
_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
_CUDA = re.compile(r"^nvidia-cuda-runtime(?:-cu[0-9]+)?==([0-9]+\.[0-9]+)", re.MULTILINE)
_ARCHIVE = re.compile(r"^\s*- conda: \S*/([^/\s]+)-([^-/\s]+)-[^-/\s]+(?:\.conda|\.tar\.bz2)$", re.MULTILINE)
"""A package in a rattler lock file: its archive's name has the package's name, version and build."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The texts of an environment's files; `lock` or `requirements` "" is one that was not made yet."""

    name: str
    lock: str
    requirements: str
    tools: str

    @property
    def locked(self) -> bool:
        """Whether it can be installed: solved and pinned."""
        return bool(self.lock and self.requirements)

    @property
    def digest(self) -> str:
        """16 hex digits over the lock and the requirements: what the environment's folder is named by."""
        return fingerprint(self.lock, self.requirements)

    @property
    def tools_digest(self) -> str:
        """16 hex digits over the pinned tools."""
        return fingerprint(self.tools)

    @property
    def cuda(self) -> str:
        """The CUDA release that the engine in it was built with, as `12.8`; "" where it has none."""
        found = _CUDA.search(self.requirements)
        return found.group(1) if found else ""

    @property
    def packages(self) -> tuple[str, ...]:
        """`conda NAME VERSION` and `pip NAME VERSION` of all that must be in it, sorted."""
        conda = (f"conda {name} {version}" for name, version in _ARCHIVE.findall(self.lock))
        pip = (f"pip {name} {version}" for name, version in _PINNED.findall(self.requirements))
        return tuple(sorted({*conda, *pip}))


IN_IMAGE = Environment(name="", lock="", requirements="", tools="")
"""Of an engine that comes in a container image."""


def names(folder: Path = FOLDER) -> tuple[str, ...]:
    """The environments that have a folder; one has an `environment.yml` or its pip part, `requirements.in`."""
    found = (path.name for path in folder.iterdir() if path.is_dir() and NAME.fullmatch(path.name))
    return tuple(sorted(name for name in found if name != TOOLS))


def load(name: str, folder: Path = FOLDER) -> Environment:
    """The environment of that name. Raises InputError where there is none."""
    if name not in names(folder):
        known, near = names(folder), nearest(name, names(folder))
        raise InputError(
            [
                Problem(
                    where="$.environment",
                    found=repr(name),
                    wanted=f"an environment with a folder in infra/environments/ ({', '.join(known) or 'none'})",
                    fix=f"did you mean {near}?" if near else None,
                )
            ]
        )
    return Environment(
        name=name,
        lock=_text(folder / name / "conda.lock"),
        requirements=_text(folder / name / "requirements.txt"),
        tools=_text(folder / TOOLS / "requirements.txt"),
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
