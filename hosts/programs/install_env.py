"""Installs a locked Conda environment on this host: real Conda packages by py-rattler, then hashed wheels by pip or uv.

Standard library only. `python3 install_env.py --prefix P --lock conda.lock --requirements requirements.txt --digest D
--tools-requirements tools.txt --tools-prefix T [--find-links DIR] [--no-index]`, or `--prefix P --remove`.
Every phase can be killed and run again: the marker `.slipway-environment.json` is written last, and without it the
prefix is work in progress. What was there before this run is hashed and compared with the packages' own lists;
`P.verified` says that it was. A Conda prefix can't be moved, so it is built where it stays. The last line of a failed
run tells why.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import csv
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Pins = Sequence[tuple[str, str, str]]

MARKER = ".slipway-environment.json"
TOOLS_MARKER = ".slipway-tools"
COMPILERS = 4  # processes at most: other people work on a login node too
REPORT_S = 5.0
NAMED = 5
"""How many files a message names."""
LOADED = (".py", ".pth", ".pyc", ".so")
"""How files end that Python runs where it finds them."""


class InstallFailed(Exception):
    """What could not be done, and what to do about it."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prefix", type=Path, required=True)
    parser.add_argument("--digest", default="")
    for name in ("lock", "requirements", "tools-requirements", "tools-prefix"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--find-links", default="")
    parser.add_argument("--no-index", action="store_true")
    parser.add_argument("--remove", action="store_true")
    parser.add_argument("--link", action="store_true", help=argparse.SUPPRESS)  # the part that the tools' Python runs
    options = parser.parse_args(arguments)
    os.umask(0o022)  # the engine's user reads it, whoever installs
    if options.link:
        link(options.lock, options.prefix)
        sys.stdout.flush()
        # Rattler's threads outlive its work; once in some fifty runs one crashed the interpreter while that ended.
        os._exit(0)
    try:
        options.prefix.parent.mkdir(parents=True, exist_ok=True)
        with locked(options.prefix):
            remove(options.prefix) if options.remove else install(options)
    except (InstallFailed, OSError) as failure:
        say(f"failed: {failure}")
        return 1
    say("phase: removed" if options.remove else "phase: done")
    return 0


def install(options: argparse.Namespace) -> None:
    """All phases; of a complete prefix only what was not verified yet."""
    prefix: Path = options.prefix
    if not prefix.is_absolute():
        raise InstallFailed(f"found the prefix {prefix}, wanted an absolute path: shebangs are made from it")
    found = marker(prefix)
    if found is not None:
        if found.get("digest") != options.digest:
            raise InstallFailed(
                f"{prefix} holds another environment: found digest {found.get('digest')}, wanted {options.digest}; "
                "remove it first"
            )
        if not verified(prefix, options.digest):
            verify(prefix)
            compile_all(prefix, anew=True)
            note(prefix, options.digest)
        return
    found_there = prefix.exists()
    pinned = pins(options.requirements.read_text())
    scratch = beside(prefix, ".tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        make_tools(options)
        run(
            [options.tools_prefix / "bin" / "python", __file__, "--link", "--prefix", prefix, "--lock", options.lock],
            scratch,
        )
        pip(options, pinned, scratch)
        if found_there:
            verify(prefix)
        compile_all(prefix, anew=found_there)
        check(prefix, pinned)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    conda = len(list((prefix / "conda-meta").glob("*.json")))
    partial = prefix / f"{MARKER}.partial"
    partial.write_text(json.dumps({"digest": options.digest, "conda": conda, "pip": len(pinned)}) + "\n")
    partial.replace(prefix / MARKER)
    note(prefix, options.digest)


def remove(prefix: Path) -> None:
    """Take away the prefix, the marker first: a removal that is cut short leaves no environment that looks complete."""
    (prefix / MARKER).unlink(missing_ok=True)
    beside(prefix, ".verified").unlink(missing_ok=True)
    for folder in (prefix, beside(prefix, ".tmp")):
        if folder.exists():
            shutil.rmtree(folder)


def make_tools(options: argparse.Namespace) -> None:
    """A virtual environment with py-rattler; wheels in a folder are just unpacked, so that the host needs no pip."""
    tools: Path = options.tools_prefix
    text = options.tools_requirements.read_text()
    digest = hashlib.sha256(text.encode()).hexdigest()
    tools.parent.mkdir(parents=True, exist_ok=True)
    with locked(tools):
        done = tools / TOOLS_MARKER
        if done.exists() and done.read_text() == digest and (tools / "bin" / "python").exists():
            return
        say("phase: making the tool environment")
        shutil.rmtree(tools, ignore_errors=True)
        pinned = pins(text)
        wheels = {name: wheel_of(options.find_links, name, sha256) for name, _, sha256 in pinned}
        missing = [name for name, wheel in wheels.items() if wheel is None]
        if options.no_index and missing:
            where = options.find_links or "no folder (--find-links)"
            raise InstallFailed(f"found no wheel with the pinned hash of {', '.join(missing)} in {where}; put it there")
        run([sys.executable, "-m", "venv", "--without-pip", tools], tools.parent)
        if not missing:
            site = site_packages(tools)
            for wheel in filter(None, wheels.values()):
                with zipfile.ZipFile(wheel) as archive:
                    archive.extractall(site)
            for program in site.glob("*.data/scripts/*"):
                program.chmod(0o755)
                program.replace(tools / "bin" / program.name)
        else:
            if subprocess.run(
                [tools / "bin" / "python", "-m", "ensurepip"], capture_output=True, check=False
            ).returncode:
                raise InstallFailed("this host's python3 has no ensurepip; install python3-venv")
            words = [*PIP, "--only-binary", ":all:", "--require-hashes", "--requirement", options.tools_requirements]
            words += ["--retries", "1", "--timeout", "10"]  # an index that is not there shall be named soon
            run([tools / "bin" / "python", *words, *sources(options)], tools.parent)
        done.write_text(digest)


def link(lock: Path, prefix: Path) -> None:
    """Make `prefix` hold the locked packages; runs in the tool environment, where rattler is."""
    import asyncio  # noqa: PLC0415

    import rattler  # noqa: PLC0415

    subdir = str(rattler.Subdir.current())
    environment = rattler.LockFile.from_path(lock).default_environment()
    platforms = [platform for platform in environment.platforms() if platform.name == subdir] if environment else []
    records = environment.conda_repodata_records_for_platform(platforms[0]) if environment and platforms else None
    if not records:
        sys.exit(f"found no packages for {subdir} in {lock}; lock the environment for it")
    wanted = {f"{record.name.normalized}-{record.version}-{record.build}.json" for record in records}
    there = {path.name for path in (prefix / "conda-meta").glob("*.json")}
    if wanted == there:
        return
    if prefix.exists():
        say("phase: starting anew, the prefix was left half linked")
        shutil.rmtree(prefix)
    say(f"phase: fetching and linking {len(records)} Conda packages")
    cache = beside(prefix, ".tmp") / "packages"  # on the same filesystem: linking copies nothing
    asyncio.run(rattler.install(records, prefix, cache_dir=cache, show_progress=False))
    (prefix / "conda-meta" / "history").touch()  # by this file conda knows an environment


PIP = (
    "-m",
    "pip",
    "install",
    "--no-deps",
    "--no-cache-dir",
    "--disable-pip-version-check",
    "--no-input",
    "--progress-bar",
    "off",
)


def pip(options: argparse.Namespace, pinned: Pins, scratch: Path) -> None:
    """The pip section; what a killed run left without its RECORD is installed again.

    From a folder by uv (48 s where pip took 143 s); from an index by pip, which knows the host's own settings.
    """
    python, site = options.prefix / "bin" / "python", site_packages(options.prefix)
    for info in site.glob("*.dist-info"):
        if not (info / "RECORD").exists():
            shutil.rmtree(info)
    cache = scratch / "uv"
    if options.no_index:
        words = [options.tools_prefix / "bin" / "uv", "pip", "install", "--python", python]
        words += ["--cache-dir", cache, "--no-config", "--no-deps", "--no-progress"]
    else:
        words = [python, *PIP, "--no-compile", "--no-warn-script-location", "--root-user-action", "ignore"]

    def report() -> str:
        unpacked, linked = len(list(cache.glob("archive-v*/*"))), len(list(site.glob("*.dist-info")))
        return f"phase: {max(unpacked, linked)} of about {len(pinned)} pip packages"

    rare = [f"{name}=={version} --hash=sha256:{sha256}\n" for name, version, sha256 in pinned if "+" in version]
    if rare and not options.no_index:
        # no public index has versions with a local label: what may be missing is asked for before gigabytes are fetched
        say(f"phase: asking the package index for {', '.join(line.partition(' ')[0] for line in rare)}")
        (scratch / "rare.txt").write_text("".join(rare))
        run([*words, "--require-hashes", "--requirement", scratch / "rare.txt", *sources(options)], scratch)
    say(f"phase: installing {len(pinned)} pip packages")
    run([*words, "--require-hashes", "--requirement", options.requirements, *sources(options)], scratch, report)


def sources(options: argparse.Namespace) -> list[str]:
    return [
        *(["--find-links", options.find_links] if options.find_links else []),
        *(["--no-index"] if options.no_index else []),
    ]


def compile_all(prefix: Path, *, anew: bool) -> None:
    """Byte code for everything: the engine's user can't write it later, and would compile anew at each start.

    `anew` replaces what is there: no list has its hashes.
    """
    jobs = str(min(COMPILERS, os.cpu_count() or 1))
    say(f"phase: compiling with {jobs} processes")
    # Packages carry templates and files for other Pythons that do not compile: no harm, and no reason to fail.
    argv = [str(prefix / "bin" / "python"), "-m", "compileall", "-q", "-j", jobs]
    argv += [*(["-f"] if anew else []), str(site_packages(prefix).parent)]
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def check(prefix: Path, pinned: Pins) -> None:
    """Every pinned package is there in its version."""
    there = {
        normal(info.name[: -len(".dist-info")].partition("-")[0]): info
        for info in site_packages(prefix).glob("*.dist-info")
    }
    for name, version, _ in pinned:
        info = there.get(normal(name))
        found = re.search(r"(?m)^Version: (.*)$", (info / "METADATA").read_text(errors="replace")) if info else None
        if found is None or found[1].strip() != version:
            raise InstallFailed(
                f"after pip, found {name} {found[1] if found else 'absent'} in {prefix}, wanted {version}"
            )


def verify(prefix: Path) -> None:
    """Every file is as the list of its package has it, and nothing that Python would run is in none.

    The lists are in the prefix themselves: this finds what was altered, added or lost by hand. That nobody else could
    write there is for the caller to know.
    """
    say("phase: verifying the files that were there")
    listed = conda_files(prefix) | pip_files(prefix)
    wrong: list[str] = []
    for name, digest in listed.items():
        path = prefix / name
        if not os.path.lexists(path):
            wrong.append(f"{name} is missing")
        elif digest and not path.is_symlink() and sha256(path) != digest:
            wrong.append(f"{name} was altered")
    for folder, folders, names in os.walk(prefix):
        inside = Path(folder).relative_to(prefix)
        folders[:] = [it for it in folders if it != "__pycache__"]
        for name in names:
            runs = inside.parts[:1] == ("bin",) or name.endswith(LOADED) or ".so." in name
            if runs and str(inside / name) not in listed:
                wrong.append(f"{inside / name} is of no package")
    if wrong:
        more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise InstallFailed(
            f"{prefix} is not what its packages are: {', '.join(sorted(wrong)[:NAMED])}{more}; remove that folder, "
            "and the next run installs it anew"
        )


def conda_files(prefix: Path) -> dict[str, str]:
    """By path below the prefix: the sha256 of what Conda packages brought, "" where they tell none."""
    found: dict[str, str] = {}
    for record in (prefix / "conda-meta").glob("*.json"):
        paths = json.loads(record.read_text()).get("paths_data", {}).get("paths", [])
        for path in paths:
            name = str(path["_path"])
            in_packages = "site-packages/" in name and not (prefix / name).exists()  # pip puts another release in place
            if path.get("path_type") != "directory" and not in_packages:
                found[name] = "" if name.endswith(".pyc") else path.get("sha256_in_prefix") or path.get("sha256") or ""
    return found


def pip_files(prefix: Path) -> dict[str, str]:
    """The same of what pip installed; of what both brought it is pip that was later."""
    found: dict[str, str] = {}
    for record in site_packages(prefix).glob("*.dist-info/RECORD"):
        with record.open(newline="") as lines:
            for name, digest, _ in csv.reader(lines):
                path = os.path.relpath(os.path.join(record.parent.parent, name), prefix)
                kind, _, value = digest.partition("=")
                if not name.endswith(".pyc"):
                    known = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex() if kind == "sha256" else ""
                    found[path] = known
    return found


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def verified(prefix: Path, digest: str) -> bool:
    """Whether word was left, by us or by root, that the prefix holds what the digest names."""
    try:
        with os.fdopen(os.open(beside(prefix, ".verified"), os.O_RDONLY | os.O_NOFOLLOW)) as file:
            return os.fstat(file.fileno()).st_uid in (0, os.geteuid()) and file.read().strip() == digest
    except OSError:
        return False


def note(prefix: Path, digest: str) -> None:
    """Leave that word, outside of the prefix."""
    partial = beside(prefix, ".verified.new")
    partial.unlink(missing_ok=True)
    with partial.open("x") as file:
        file.write(digest + "\n")
    partial.replace(beside(prefix, ".verified"))


def pins(text: str) -> Pins:
    """Name, version and sha256 of each line."""
    found = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            match = re.match(r"([\w.-]+)==(\S+) --hash=sha256:([0-9a-f]{64})$", line.strip())
            if match is None:
                raise InstallFailed(f"found the requirement `{line[:80]}`, wanted `name==version --hash=sha256:…`")
            found.append((match[1], match[2], match[3]))
    return found


def wheel_of(folder: str, name: str, sha256: str) -> Path | None:
    """The wheel of that name in a folder whose bytes are the pinned ones."""
    for wheel in sorted(Path(folder).glob("*.whl")) if folder else ():
        if (
            normal(wheel.name.partition("-")[0]) == normal(name)
            and hashlib.sha256(wheel.read_bytes()).hexdigest() == sha256
        ):
            return wheel
    return None


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def site_packages(prefix: Path) -> Path:
    found = sorted(prefix.glob("lib/python3*/site-packages"))
    if not found:
        raise InstallFailed(
            f"found no Python in {prefix} after linking, wanted one; add `python` to environment.yml and lock it"
        )
    return found[0]


def marker(prefix: Path) -> Mapping[str, object] | None:
    try:
        found = json.loads((prefix / MARKER).read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else {}


def beside(prefix: Path, suffix: str) -> Path:
    return prefix.with_name(prefix.name + suffix)


def run(argv: Sequence[str | Path], scratch: Path, report: Callable[[], str] | None = None) -> None:
    """Run a command and pass its lines on; InstallFailed with its last ones if it fails."""
    words = [str(word) for word in argv]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CONDA"))}
    env.update(PYTHONNOUSERSITE="1", PYTHONUNBUFFERED="1", TMPDIR=str(scratch))  # /tmp may be small
    last: list[str] = []
    stop = threading.Event()

    def tell() -> None:
        while report is not None and not stop.wait(REPORT_S):
            say(report())

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last = [*last[-7:], line.rstrip()]
            say(line.rstrip()[:300])
    stop.set()
    teller.join()
    if process.returncode:
        said = f"`{' '.join(words)[:200]}` ended with {process.returncode}: {' | '.join(last[-3:])[-600:]}"
        raise InstallFailed(explained(last) or said)


UNREACHED = re.compile(
    r"NewConnectionError|ConnectTimeoutError|ReadTimeoutError|Max retries exceeded|Connection(Refused|Reset)Error"
    r"|[Nn]ame resolution|Network is unreachable"
)
"""What pip prints where no index answers."""


def explained(lines: Sequence[str]) -> str:
    """What pip's last lines mean and what to do about it; "" where they are of another kind."""
    text = "\n".join(lines)
    missing = re.search(r"No matching distribution found for ([^\s;]{1,200})", text)
    fix = "put the wheel of every pin into a folder on this host, and name it in the fleet file: `wheels: /FOLDER`"
    if UNREACHED.search(text):
        return f"pip on this host reaches no package index; {fix}, or set pip up for an index that it reaches"
    if missing:
        return f"the package index that pip on this host uses has no {missing[1]}; {fix}"
    return ""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one run works on a path; the kernel drops the lock with the process. Nobody else may hold it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    with os.fdopen(os.open(beside(path, ".lock"), flags, 0o600), "a") as lock:
        os.fchmod(lock.fileno(), 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"phase: waiting for another run on {path}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as problem:
            if problem.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
                raise
            say(f"phase: {path.parent} knows no file locks ({problem.strerror}); going on without")
        yield


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
