"""An engine's environment as its files say: a Conda lock, pip's requirements and their tools, or an image's digest."""

import re
from dataclasses import dataclass
from pathlib import Path

from hosts.errors import InputError
from hosts.problem import Problem
from hosts.schema import load_yaml
from hosts.state import fingerprint
from hosts.words import nearest

FOLDER = Path(__file__).parent
NO_DIGEST = "@sha256:" + "0" * 64
"""What stands for the digest of an image that was not built yet."""
TOOLS = "py-rattler"
"""The folder of the tool environment, which is installed by pip alone and installs the others."""
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,62}[a-z0-9])?")
_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
_ASKED = re.compile(
    r"^[ \t]*(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)[ \t]*(?:\[[^\]]*\])?"
    r"[ \t]*(?:={2,3}[ \t]*(?P<version>[^\s;,*\\]+)(?=[\s;,\\]|$))?",
    re.MULTILINE,
)
"""A requirement by name, with its version where it is pinned to one; a range or a URL pins none."""
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
    asked: str = ""
    """`requirements.in`, what `requirements` is made from."""
    image: str = ""
    """`image.lock`, a container image by digest that holds the engine; with `NO_DIGEST` where only `image.yml` is."""

    @property
    def locked(self) -> bool:
        """Whether it can be installed: solved and pinned, or built."""
        return not self.missing

    @property
    def missing(self) -> str:
        """The first file that it lacks to be installed, "" where it is locked."""
        if self.image:
            return "image.lock" if self.image.endswith(NO_DIGEST) else ""
        return "requirements.txt" if not self.requirements else "" if self.lock else "conda.lock"

    @property
    def next_step(self) -> str:
        """What makes the files that it lacks."""
        if self.image:
            return "run: make setup" if self.missing else ""
        folder = f"infra/environments/{self.name}"
        steps = [
            *(() if self.requirements or self.asked else (f"write {folder}/requirements.in",)),
            *(() if self.requirements else (f"run: python -m tools.pin_requirements {folder}",)),
            *(() if self.lock else (f"run: invoke env.lock {self.name}",)),
        ]
        return ", then ".join(steps)

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

    @property
    def source(self) -> str:
        """The file that says what pip brings: the pins, or what they are to be made from; "" where there is none."""
        file = "requirements.txt" if self.requirements else "requirements.in" if self.asked else ""
        return file and f"infra/environments/{self.name}/{file}"

    def versions(self, package: str) -> tuple[str, ...] | None:
        """The versions of a package that `source` pins, () where it leaves them open; None: it does not name it."""
        found = [
            match["version"]
            for match in _ASKED.finditer(self.requirements or self.asked)
            if _same(match["name"]) == _same(package)
        ]
        return tuple(version for version in found if version) if found else None


IN_IMAGE = Environment(name="", lock="", requirements="", tools="")
"""Of an engine that comes in a container image."""


def names(folder: Path = FOLDER) -> tuple[str, ...]:
    """The environments that have a folder, with `environment.yml`, its pip part `requirements.in`, or `image.yml`."""
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
        asked=_text(folder / name / "requirements.in"),
        image=_image(folder / name),
    )


def _image(folder: Path) -> str:
    """The image of an environment that is one, by digest; "" of one that is not."""
    locked, described = _text(folder / "image.lock").strip(), folder / "image.yml"
    if locked or not described.is_file():
        return locked
    told = load_yaml(described)
    return f"{told['name'] if isinstance(told, dict) else ''}{NO_DIGEST}"


def holding(package: str, release: str, *, cpu: bool, folder: Path = FOLDER) -> tuple[str, ...]:
    """The environments with that release of a package, in its builds for CPUs or in the others."""
    found = ((name, load(name, folder).versions(package) or ()) for name in names(folder))
    return tuple(name for name, versions in found if any(is_of(it, release) and is_cpu(it) == cpu for it in versions))


def is_of(version: str, release: str) -> bool:
    """Whether a version, `0.19.1+cpu`, is a build of a release."""
    return version.partition("+")[0] == release.partition("+")[0]


def is_cpu(version: str) -> bool:
    """Whether a version is a build for CPUs alone, or a stand-in that computes nothing."""
    return version.partition("+")[2].startswith(("cpu", "standin"))


def _same(name: str) -> str:
    """A distribution's name as the packaging standard compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
