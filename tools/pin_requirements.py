"""Pins an environment's requirements.in: exact releases, one wheel each (Linux, x86-64), by hash and without URLs.

    python -m tools.pin_requirements infra/environments/vllm-0.19.1 [--as-of 2026-05-01] [--find-links DIR]

Needs `uv` (pip install uv). `--as-of` resolves as the index stood on that day: an engine release that names no upper
bounds is pinned with what there was when it came out.
"""

import argparse
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PYTHON, PLATFORM = "3.11", "x86_64-manylinux_2_31"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tools.pin_requirements", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--as-of", metavar="DATE")
    parser.add_argument("--find-links", type=Path, help="a folder with wheels that are on no index")
    options = parser.parse_args(arguments)
    source = options.directory / "requirements.in"
    extra = [f"--exclude-newer={options.as_of}"] if options.as_of else []
    extra += [f"--find-links={options.find_links}"] if options.find_links else []
    with tempfile.TemporaryDirectory() as scratch:
        lock = Path(scratch) / "pylock.toml"
        argv = [
            "uv", "pip", "compile", "--no-config", "--quiet", "--only-binary=:all:", f"--python-version={PYTHON}",
            f"--python-platform={PLATFORM}", "--format=pylock.toml", f"--output-file={lock}", *extra, str(source),
        ]  # fmt: skip
        try:
            subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        except FileNotFoundError:
            sys.exit("uv is not on PATH; what to do: pip install uv, then run this again")
        except subprocess.CalledProcessError as failure:
            return failure.returncode
        pinned = render(tomllib.loads(lock.read_text()), made_by(options.directory, options.as_of))
    (options.directory / "requirements.txt").write_text(pinned)
    return 0


def made_by(directory: Path, as_of: str | None) -> str:
    return shlex.join(
        ["python", "-m", "tools.pin_requirements", str(directory), *(["--as-of", as_of] if as_of else [])]
    )


def render(lock: Mapping[str, Any], command: str) -> str:
    """The requirements file of a pylock.toml (PEP 751); ValueError if a package has no wheel for this Python."""
    lines = [f"# Made from requirements.in by: {command}", f"# For Python {PYTHON} on {PLATFORM}: one wheel each."]
    for package in lock["packages"]:
        wheels = {rank(file_name(wheel)): wheel for wheel in package.get("wheels", [])}
        if max(wheels, default=0) == 0:
            raise ValueError(f"{package['name']} {package['version']}: found no wheel for Python {PYTHON}")
        lines.append(f"{package['name']}=={package['version']} --hash=sha256:{wheels[max(wheels)]['hashes']['sha256']}")
    return "".join(f"{line}\n" for line in lines)


def file_name(wheel: Mapping[str, Any]) -> str:
    return str(wheel.get("name") or wheel.get("url") or wheel["path"]).rpartition("/")[2]


def rank(wheel: str) -> int:
    """How well a wheel's name fits the Python, 0 for not at all: the lock has those for later Pythons too."""
    python, abi, _ = wheel.removesuffix(".whl").rsplit("-", 3)[1:]
    wanted = int(PYTHON.partition(".")[2])
    minors = [int(match[1] or 0) for tag in python.split(".") if (match := re.fullmatch(r"(?:cp|py)3(\d*)", tag))]
    fitting = max((minor for minor in minors if minor <= wanted), default=-1)
    if abi == f"cp3{wanted}" and fitting == wanted:
        return 300
    return fitting + {"abi3": 200, "none": 100}.get(abi, -fitting) if fitting >= 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
