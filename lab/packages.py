"""Debian packages: what this machine needs for the lab, and where it gets packages from, so that nodes can too."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from lab import host
from lab.errors import LabRefused
from lab.progress import Say

SUITE = "bookworm"
# A program, and the package that holds it.
HOST = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "nft": "nftables",
    "ssh": "openssh-client",
    "setpriv": "util-linux",
}
APT = ("apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=600", "-o", "Acquire::Retries=3")
SCHEMES = ("http", "https")
SETTINGS = re.compile(r'Acquire::(http|https|Check-|Retries|Force|AllowInsecure|AllowWeak)[^"]*"[^"]*";')


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """This machine's way to Debian packages, read at run time; a mirror's name is never in a committed file."""

    mirror: str
    """The archive that debootstrap takes the base system from."""
    lines: str
    """An apt sources.list of the same release."""
    settings: str
    """apt.conf: proxies, certificates and checks, as set here."""
    trust: tuple[Path, ...]
    """Keyrings that this machine accepts for its Debian sources."""


def missing() -> list[str]:
    """Packages that this machine lacks for the lab."""
    return sorted({package for program, package in HOST.items() if not host.which(program)})


def install(say: Say) -> None:
    """Install what this machine lacks; nothing happens if that is nothing."""
    wanted = missing()
    if not wanted:
        return
    if not host.which("apt-get"):
        raise LabRefused(
            f"this machine: found neither {', '.join(wanted)} nor apt-get, wanted both to be there; install them"
        )
    say(f"this machine: installing {', '.join(wanted)}")
    host.run([*APT, "update"])
    host.run([*APT, "install", "--no-install-recommends", *wanted])


def stamp() -> str:
    """Changes whenever `sources` may, and costs nothing: asking apt takes a second."""
    files = sorted(path for path in Path("/etc/apt").rglob("*") if path.is_file())
    stamps = [f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return "\n".join([*stamps, *(f"{name}={value}" for name, value in sorted(proxies().items()))])


def proxies() -> dict[str, str]:
    """The proxy of this machine's environment, by scheme."""
    named = {
        scheme: os.environ.get(f"{scheme}_proxy") or os.environ.get(f"{scheme.upper()}_PROXY") for scheme in SCHEMES
    }
    return {scheme: proxy for scheme, proxy in named.items() if proxy}


def sources() -> Sources:
    """Where this machine gets Debian 12 from; LabRefused if it has no such source."""
    found = targets()
    if not found:
        host.run([*APT, "update"])  # apt knows a suite's code name only once it has read it
        found = targets()
    mirror = next((uri for uri, _, codename, _ in found if codename == SUITE), None)
    if mirror is None:
        raise LabRefused(
            f"apt: found no source of Debian 12 ({SUITE}) on this machine, wanted one for the nodes; "
            "add it to /etc/apt/sources.list and run apt-get update"
        )
    suites = dict[tuple[str, str], list[str]]()
    for uri, suite, _, component in found:
        suites.setdefault((uri, suite), []).append(component)
    lines = "".join(f"deb {uri} {suite} {' '.join(sorted(set(names)))}\n" for (uri, suite), names in suites.items())
    return Sources(mirror=mirror, lines=lines, settings=settings(), trust=trusted())


def targets() -> list[tuple[str, str, str, str]]:
    """(archive, suite, code name, component) of each package list of Debian 12 that apt here is set up for."""
    form = "$(CREATED_BY)|$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(CODENAME)|$(COMPONENT)"
    rows = [line.split("|") for line in host.run(["apt-get", "indextargets", "--format", form]).splitlines()]
    return sorted(
        {(row[2], row[3], row[4], row[5]) for row in rows if row[0] == "Packages" and row[1] == "Debian"
         and re.fullmatch(rf"{SUITE}(-updates|-security)?", row[4])}
    )  # fmt: skip


def settings() -> str:
    """apt's own network settings here, and the proxy of the environment where apt has none of its own."""
    lines = [line for line in host.run(["apt-config", "dump"]).splitlines() if SETTINGS.fullmatch(line)]
    for scheme, proxy in proxies().items():
        if not any(line.startswith(f"Acquire::{scheme}::Proxy ") for line in lines):
            lines.append(f'Acquire::{scheme}::Proxy "{proxy}";')
    return "".join(f"{line}\n" for line in lines)


def trusted() -> tuple[Path, ...]:
    """Keyrings that apt here accepts by itself, and those that a source names (`Signed-By`)."""
    apt = Path("/etc/apt")
    named = set[Path]()
    for file in (apt / "sources.list", *apt.glob("sources.list.d/*.list"), *apt.glob("sources.list.d/*.sources")):
        if file.exists():
            named |= {
                Path(name) for name in re.findall(r"signed-by\s*[=:]\s*(/[^\s\],]+)", file.read_text(), re.IGNORECASE)
            }
    return tuple(
        sorted(
            path for path in {*apt.glob("trusted.gpg.d/*"), *named} if path.suffix in (".gpg", ".asc") and path.exists()
        )
    )
