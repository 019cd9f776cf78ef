"""Reads the text files of a published wheel, by HTTP ranges where the index allows it, else from a whole download.

Which index, which credentials and which certificates are pip's own configuration: pip says where the wheel lies.
"""

import json
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import SEEK_CUR, SEEK_END, SEEK_SET, BufferedReader, RawIOBase
from pathlib import Path
from typing import IO

from hosts.errors import Failed

PYTHONS = ("3.12", "3.11", "3.10", "3.13", "3.14")
GLIBC_MINORS = tuple(range(40, 16, -1))
READ_BYTES = 1 << 18
TIMEOUT_SECONDS = 180


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """Where one wheel of a release lies."""

    distribution: str
    release: str
    url: str
    metadata: Mapping[str, object]
    """The core metadata: `requires_dist`, `requires_python`."""

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2].partition("#")[0]


class Ranges(RawIOBase):
    """A remote file that is read by ranges: enough of a file for `zipfile`."""

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        super().__init__()
        self._url, self._context, self._at = url, context, 0
        with self._get("bytes=0-0") as answer:
            total = answer.headers.get("Content-Range", "").rpartition("/")[2]
            if answer.status != 206 or not total.isdigit():
                raise OSError("the index sends no ranges")
        self._bytes = int(total)

    def _get(self, byte_range: str) -> "urllib.response.addinfourl":
        request = urllib.request.Request(self._url, headers={"Range": byte_range})  # noqa: S310 - pip named the URL
        answer: urllib.response.addinfourl = urllib.request.urlopen(  # noqa: S310
            request, timeout=TIMEOUT_SECONDS, context=self._context
        )
        return answer

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Moves without a request."""
        self._at = offset + {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self._bytes}[whence]
        return self._at

    def tell(self) -> int:
        """The position."""
        return self._at

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Fills the buffer with one request."""
        wanted = min(len(buffer), self._bytes - self._at)
        if wanted <= 0:
            return 0
        with self._get(f"bytes={self._at}-{self._at + wanted - 1}") as answer:
            data = answer.read()
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def locate(distribution: str, release: str) -> Wheel:
    """The wheel that pip would install on Linux for the newest Python that has one. Raises Failed."""
    platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in GLIBC_MINORS]
    platforms += ["--platform=manylinux2014_x86_64", "--platform=linux_x86_64"]
    said = ""
    for python in PYTHONS:
        argv = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--dry-run",
            "--quiet",
            "--no-deps",
            "--ignore-installed",
            "--ignore-requires-python",
            "--only-binary=:all:",
            "--target=.",
            "--report=-",
            f"--python-version={python}",
            *platforms,
            f"{distribution}=={release}",
        ]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode == 0:
            found = json.loads(done.stdout)["install"][0]
            url, metadata = found["download_info"]["url"], found["metadata"]
            return Wheel(distribution=distribution, release=release, url=url, metadata=metadata)
        said = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        if "versions: none" in said:
            break
    raise Failed(f"{distribution} {release} has no wheel on the configured index: {said}")


@contextmanager
def opened(wheel: Wheel, say: Callable[[str], None]) -> Iterator[zipfile.ZipFile]:
    """The wheel as an archive."""
    if wheel.url.startswith("file:"):
        with zipfile.ZipFile(urllib.request.url2pathname(wheel.url.removeprefix("file://"))) as archive:
            yield archive
        return
    try:
        remote = Ranges(wheel.url, _certificates())
    except (OSError, urllib.error.URLError) as error:
        say(f"{wheel.name}: read by ranges: {error}; the whole wheel is downloaded")
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(_downloaded(wheel, Path(folder))) as archive:
            yield archive
        return
    reader: IO[bytes] = BufferedReader(remote, READ_BYTES)
    with reader, zipfile.ZipFile(reader) as archive:
        yield archive


def texts(archive: zipfile.ZipFile, wanted: Callable[[str], bool]) -> dict[str, str]:
    """The text of the members whose names are wanted, in the order in which they lie in the file."""
    members = [info for info in archive.infolist() if wanted(info.filename)]
    members.sort(key=lambda info: info.header_offset)
    return {info.filename: archive.read(info).decode("utf-8") for info in members}


def _downloaded(wheel: Wheel, folder: Path) -> Path:
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--dest={folder}", wheel.url]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise Failed(f"{wheel.name} could not be downloaded: {done.stderr.strip()[-300:]}")
    return next(folder.glob("*.whl"))


def _certificates() -> ssl.SSLContext:
    argv = [sys.executable, "-m", "pip", "config", "get", "global.cert"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    path = done.stdout.strip() if done.returncode == 0 else ""
    return ssl.create_default_context(cafile=path or None)
