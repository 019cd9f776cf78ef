"""Solves an environment's `environment.yml` on the controller, with py-rattler, and writes its `conda.lock`."""

import argparse
import asyncio
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rattler import (
    BuildString,
    GenericVirtualPackage,
    LockFile,
    LockPlatform,
    PackageName,
    RepoDataRecord,
    Subdir,
    Version,
    solve,
)
from rattler.exceptions import FetchRepoDataError, GatewayError, InvalidMatchSpecError, SolverError

from hosts.errors import Failed, InputError
from hosts.problem import Problem
from hosts.schema import Reader, describe, load_yaml

NOTHING: Mapping[str, str] = {}
SUBDIR = "linux-64"
# What every host is taken to have, whatever the controller is: DGX OS 6 (Ubuntu 22.04) is the oldest.
VIRTUAL = {"__unix": "0", "__linux": "5.15", "__glibc": "2.35", "__archspec": "1"}
PIP_SECTION = {"pip": ["-r requirements.txt"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What an `environment.yml` asks for; its pip section is always the hashed `requirements.txt` beside it."""

    channels: tuple[str, ...]
    specs: tuple[str, ...]


def lock(directory: Path, say: Callable[[str], None], *, mirrors: Mapping[str, str] = NOTHING) -> Path:
    """Write the lock beside `environment.yml`; InputError for what is wrong there, Failed if nothing fits.

    `mirrors` maps a channel as the hosts see it to where it is read from here; the lock says what the hosts see.
    """
    wanted = read(directory / "environment.yml")
    say(f"locking {directory.name}: {', '.join(wanted.specs)} from {', '.join(wanted.channels)}")
    channels = [mirrors.get(channel, channel) for channel in wanted.channels]
    try:
        records = asyncio.run(_solve(channels, wanted.specs))
    except InvalidMatchSpecError as error:
        raise InputError([Problem(where="$.dependencies", found=str(error), wanted="a Conda match spec")]) from error
    except (SolverError, GatewayError, FetchRepoDataError) as error:
        raise Failed(
            f"{directory.name}: found no set of packages for {', '.join(wanted.specs)} in {', '.join(channels)}\n"
            f"  {error}\n  what to do: see that the channels answer from here, then change environment.yml"
        ) from error
    return _write(directory / "conda.lock", records, mirrors, say)


def read(path: Path) -> Environment:
    """The parsed file; InputError with all that is wrong in it."""
    reader = Reader(load_yaml(path), str(path))
    reader.word("name", default=path.parent.name)
    channels = _words(reader, "channels", reader.raw("channels"))
    listed = reader.raw("dependencies")
    specs = [entry for entry in listed if entry != PIP_SECTION] if isinstance(listed, list) else listed
    dependencies = _words(reader, "dependencies", specs)
    reader.done()
    reader.raise_problems(f"{path} is no environment of Slipway")
    return Environment(channels=channels, specs=dependencies)


def _words(reader: Reader, key: str, values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not values:
        reader.problem(reader.at(key), describe(values), "a list with at least one entry")
        return ()
    for number, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            fix = (
                f"pip packages go into requirements.in, and here stands {PIP_SECTION}"
                if key == "dependencies"
                else None
            )
            reader.problem(f"{reader.at(key)}[{number}]", describe(value), "text", fix=fix)
    return tuple(str(value) for value in values)


async def _solve(channels: Sequence[str], specs: Sequence[str]) -> Sequence[RepoDataRecord]:
    virtual = [
        GenericVirtualPackage(PackageName(name), Version(version), BuildString("0"))
        for name, version in VIRTUAL.items()
    ]
    return await solve(channels, specs, platforms=[Subdir(SUBDIR), Subdir("noarch")], virtual_packages=virtual)


def _write(
    target: Path, records: Sequence[RepoDataRecord], mirrors: Mapping[str, str], say: Callable[[str], None]
) -> Path:
    platform = LockPlatform(SUBDIR)
    document = LockFile([platform])
    for record in sorted(records, key=lambda record: record.name.normalized):
        document.add_conda_package("default", platform, record)
    partial = target.with_name(f".{target.name}.partial")
    document.to_path(partial)
    text = partial.read_text()
    for seen, here in mirrors.items():
        place = re.escape(str(Path(here).absolute()))
        text = re.sub(rf"(^.*[ /]){place}(?=/|$)", rf"\g<1>{seen}", text, flags=re.MULTILINE)
    partial.write_text(text)
    partial.replace(target)
    say(f"locked {len(records)} packages in {target}")
    return target


def main(arguments: Sequence[str]) -> int:
    """`python -m infra.operate.lock_environment DIRECTORY [--mirror SEEN=HERE]`, for callers below this layer."""
    parser = argparse.ArgumentParser(prog="python -m infra.operate.lock_environment", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--mirror", action="append", default=[], metavar="SEEN=HERE")
    options = parser.parse_args(arguments)
    mirrors = {seen: here for seen, _, here in (word.partition("=") for word in options.mirror)}
    try:
        lock(options.directory, print, mirrors=mirrors)
    except (InputError, Failed) as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    # Rattler's threads outlive its work; once in some fifty runs one crashed the interpreter while that ended.
    os._exit(status)
