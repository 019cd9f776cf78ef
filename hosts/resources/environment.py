"""A locked Conda environment at a path that its lock's digest names; installed detached, resumed by the next run."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from hosts import trust
from hosts.errors import Unknown
from hosts.resources.detached import run_detached
from hosts.shell import quote
from hosts.state import Base

UNVERIFIED = "(not verified)"
"""The digest of an environment that is complete, and whose files nobody compared with its packages' lists yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaEnv(Base):
    """An environment made by `install_env.py` from the lock and requirements in `inputs` (Files of the same stage).

    `packages` are `conda NAME VERSION` and `pip NAME VERSION`, sorted: what the lock says, compared with what
    conda-meta and the dist-info folders say, so that a package removed by hand is drift. `tools` is the prefix of the
    tool environment. `find_links` is a folder of wheels that replaces the package index ("": the host's own pip
    settings). An environment counts only where all of that is ours, and where the installer made or verified its
    files, of which it leaves word outside of the prefix (`verified`).
    """

    kind: ClassVar[str] = "CondaEnv"
    prefix: str
    digest: str
    packages: tuple[str, ...]
    inputs: str
    tools: str
    find_links: str = ""
    claim: str = ""

    @property
    def key(self) -> str:
        return f"conda-env:{self.prefix}"

    @property
    def marker(self) -> str:
        """The file that the installer writes last."""
        return f"{self.prefix}/.slipway-environment.json"

    @property
    def verified(self) -> str:
        """The file with the digest of what the installer made or verified here."""
        return f"{self.prefix}.verified"

    def probe(self) -> str:
        prefix, marker, verified = quote(self.prefix), quote(self.marker), quote(self.verified)
        places = (self.marker, self.verified, f"{self.prefix}/conda-meta", f"{self.prefix}/bin/python", self.tools)
        return (
            f"{trust.probed(*places, f'{self.inputs}/install_env.py')}\n"
            f"if [ ! -d {prefix} ]; then echo absent; exit 0; fi\n"
            f'[ "$(cat -- {verified} 2>/dev/null)" = {quote(self.digest)} ] || printf "unverified "\n'
            f"if [ -e {marker} ]; then tr -d '\\n' <{marker}; echo; else echo incomplete; fi\n"
            f"cd {prefix} && ls conda-meta 2>/dev/null | sed -n 's/\\.json$//; s/^/conda /p'\n"
            "for d in lib/python3*/site-packages/*.dist-info; do b=${d##*/}; "
            '[ -e "$d/METADATA" ] && echo "pip ${b%.dist-info}"; done; exit 0'
        )

    def parse(self, out: str) -> Self | None:
        trust.refuse(out)
        lines = out.splitlines()
        if lines == ["absent"]:
            return None
        if not lines:
            raise Unknown(f"{self.prefix} can't be read")
        found = {_normal(line) for line in lines[1:]}
        digest = self.digest if f'"{self.digest}"' in lines[0] else "(incomplete)"
        if lines[0].startswith("unverified ") and digest == self.digest:
            digest = UNVERIFIED
        return replace(self, digest=digest, packages=tuple(p for p in self.packages if _normal_wanted(p) in found))

    def steps(self, actual: Self | None) -> Iterator[str]:
        install = [
            "python3", f"{self.inputs}/install_env.py", "--prefix", self.prefix, "--digest", self.digest,
            "--lock", f"{self.inputs}/conda.lock", "--requirements", f"{self.inputs}/requirements.txt",
            "--tools-requirements", f"{self.inputs}/tools.txt", "--tools-prefix", self.tools,
        ]  # fmt: skip
        if self.find_links:
            install += ["--find-links", self.find_links, "--no-index"]
        yield trust.folder(self.prefix.rpartition("/")[0])
        yield trust.trusted(self.prefix, self.inputs, self.tools)
        if actual is not None and (actual.digest, actual.packages) != (UNVERIFIED, self.packages):
            # complete but altered by hand: the installer takes a marker for done, so the marker goes first
            yield f"rm -f -- {quote(self.marker)}"
        yield run_detached(f"slipway-env-{self.digest}", shlex.join(install), f"{self.prefix}.log", self.claim)

    def remove(self) -> Iterator[str]:
        ends = (".verified", "", ".log", ".lock")
        yield f"rm -rf --one-file-system -- {' '.join(quote(self.prefix + end) for end in ends)}"


def _normal(line: str) -> str:
    """`conda python-3.11.7-0` or `pip Jinja2-3.1.6` as (`conda`, name, version) joined by blanks, names normalised."""
    source, _, rest = line.partition(" ")
    if source == "conda":
        name, version, _ = [*rest.rsplit("-", 2), "", ""][:3]
        return f"conda {name} {version}"
    name, _, version = rest.rpartition("-")
    return f"pip {name.lower().replace('_', '-').replace('.', '-')} {version}"


def _normal_wanted(package: str) -> str:
    source, name, version = package.split(" ", 2)
    return f"{source} {name if source == 'conda' else name.lower().replace('_', '-').replace('.', '-')} {version}"
