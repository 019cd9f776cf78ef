"""What a person asks to be linted: a readable text, and an engine that there is."""

from pathlib import Path
from typing import BinaryIO

from hosts.errors import InputError
from hosts.problem import Problem
from hosts.words import nearest
from infra.flags import table as tables
from infra.lint.lint import ENGINES
from infra.lint.read import MAX_CHARACTERS


def document(path: Path) -> str:
    """The text of a file that the user named. Raises InputError where it can't be read."""
    try:
        with path.open("rb") as file:
            return text(file, str(path))
    except OSError as error:
        raise _wrong(str(path), error.strerror or "an error", "a readable file") from None


def text(opened: BinaryIO, name: str) -> str:
    """What an opened file or standard input has, as much as is taken and a little more. Raises InputError, OSError."""
    data = opened.read(4 * MAX_CHARACTERS + 1)
    if b"\0" in data:
        raise _wrong(name, "a binary file", "a text")
    return data.decode("utf-8", errors="replace")


def engine(name: str) -> str | None:
    """The engine, None where none is asked for. Raises InputError where there is no such one."""
    if name and name not in ENGINES:
        near = nearest(name, ENGINES)
        raise _wrong("--engine", name, f"one of {', '.join(ENGINES)}", fix=f"did you mean {near}?" if near else None)
    return name or None


def release(name: str, of: str | None) -> str | None:
    """The release, None where none is asked for. Raises InputError where it can be none."""
    if name and not name.removeprefix("v")[:1].isdigit() and name not in _branches(of):
        known = tables.releases(of) if of else ()
        wanted = f"a release ({', '.join(known)})" if known else "a release, as 0.19.1"
        raise _wrong("--release", name, wanted)
    return name.removeprefix("v") or None


def _branches(of: str | None) -> tuple[str, ...]:
    return tuple(name for one in ([of] if of else ENGINES) for name in tables.releases(one) if not name[0].isdigit())


def _wrong(where: str, found: str, wanted: str, *, fix: str | None = None) -> InputError:
    return InputError([Problem(where=where, found=found, wanted=wanted, fix=fix)])
