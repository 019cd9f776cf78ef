"""The operating system's packages that the set-up and the tests call, installed where they are missing."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

from tools.progress import Progress, SetupFailed

MIN_PYTHON = (3, 11)
POLICY = Path("/usr/sbin/policy-rc.d")
NO_SERVICES = "#!/bin/sh\n# Slipway's `make setup` is installing a package; it removes this file again\nexit 101\n"
SBIN = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))

Present = Callable[[], bool]


def _program(name: str) -> Present:
    return lambda: shutil.which(name, path=SBIN) is not None


def _certificates() -> bool:
    return bool(os.environ.get("SSL_CERT_FILE")) or Path("/etc/ssl/certs/ca-certificates.crt").exists()


NEEDED: Mapping[str, Present] = {
    "python3-venv": lambda: importlib.util.find_spec("ensurepip") is not None,
    "git": _program("git"),
    "ca-certificates": _certificates,
    "openssh-client": _program("ssh-keygen"),
}
NEEDED_BY_TESTS: Mapping[str, Present] = {"openssh-server": _program("sshd"), "nginx-light": _program("nginx")}
DAEMONS: Mapping[str, str] = {"openssh-server": "ssh", "nginx-light": "nginx"}
"""The packages that bring a service, which stays off, and its name."""


def require_python() -> None:
    if sys.version_info < MIN_PYTHON:
        found = ".".join(map(str, sys.version_info[:3]))
        raise SetupFailed(
            f"setup: {sys.executable} is Python {found}; Slipway needs {'.'.join(map(str, MIN_PYTHON))} or later\n"
            "  what to do: install one and name it, for example: make setup PYTHON=python3.12"
        )


def missing(wanted: Mapping[str, Present]) -> list[str]:
    """The packages, by Debian's names, of which nothing is found here."""
    return [name for name, present in wanted.items() if not present()]


def install(packages: list[str], progress: Progress) -> None:
    """Installs by apt as root; elsewhere says what to run instead."""
    command = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
    if shutil.which("apt-get") is None:
        raise SetupFailed(
            f"system: not found here: {', '.join(packages)} (Debian's names), and there is no apt-get\n"
            "  what to do: install them with this system's own package manager, then run `make setup` again"
        )
    if os.geteuid() != 0:
        raise SetupFailed(
            f"system: not found here: {', '.join(packages)}\n"
            f"  what to do: sudo {command}    and then `make setup` again"
        )
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    fix = f"see that a Debian mirror answers (`apt-get update`), then run `{command}` by hand"
    with _services_stay_off() if DAEMONS.keys() & set(packages) else nullcontext():
        if not _are_known(packages):
            progress.run("system", ["apt-get", "update"], doing="reading the package lists", fix=fix, env=env)
        progress.run("system", command.split(), doing=f"installing {', '.join(packages)}", fix=fix, env=env)
    services = [DAEMONS[package] for package in packages if package in DAEMONS]
    if services and shutil.which("systemctl"):
        doing = f"leaving this machine's own {' and '.join(services)} switched off"
        progress.run("system", ["systemctl", "disable", *services], doing=doing, fix="see the lines above", env=env)
    importlib.invalidate_caches()


def _are_known(packages: list[str]) -> bool:
    """Whether apt's lists have these packages: on a new image they are empty until the first `apt-get update`."""
    argv = ["apt-get", "install", "--simulate", "-qq", "--no-install-recommends", *packages]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


@contextmanager
def _services_stay_off() -> Iterator[None]:
    """Keeps Debian from starting a daemon that a package brings: the tests start their own sshd, on loopback."""
    if POLICY.exists() and POLICY.read_text() != NO_SERVICES:  # the administrator's own policy
        yield
        return
    POLICY.write_text(NO_SERVICES)
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)
