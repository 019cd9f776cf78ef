"""A claim: one small file that says which stack holds an artifact, written by whom and from which backend."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from hosts import trust
from hosts.errors import Unknown
from hosts.shell import quote
from hosts.state import Base


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim(Base):
    """`<folder>/<artifact>/<stack>`; refused where another backend holds the same stack name.

    Otherwise one user's teardown would end another's service. `backend` is a hash of the Pulumi backend and project,
    `holder` the person and machine for messages; a claim of the same backend by another holder is ours as well and
    stays as it is. An `exclusive` claim (a GPU's) is refused while another stack holds the artifact, and names it.
    """

    kind: ClassVar[str] = "Claim"
    folder: str
    artifact: str
    stack: str
    backend: str
    holder: str
    exclusive: bool = False

    @property
    def key(self) -> str:
        return f"claim:{self.artifact}"

    @property
    def path(self) -> str:
        """The claim's file."""
        return f"{self.folder}/{self.artifact}/{self.stack}"

    def probe(self) -> str:
        path = quote(self.path)
        whose = trust.probed(self.path)
        others = (
            f"find {quote(self.path.rpartition('/')[0])} -type f ! -name {quote(self.stack)} ! -name '*.new' "
            "-printf 'held by %f\\n' 2>/dev/null | sort\n"
        )
        return (
            f"{whose}\n{others if self.exclusive else ''}if [ -e {path} ]; then cat -- {path} || echo unreadable; "
            "else echo absent; fi"
        )

    def parse(self, out: str) -> Self | None:
        trust.refuse(out)
        lines = out.splitlines()
        held = [line.removeprefix("held by ") for line in lines if line.startswith("held by ")]
        if held:
            raise Unknown(
                f"{self.artifact} is held by the stack {', '.join(held)}; take others (launcher.devices), or run: "
                f"invoke teardown -s {held[0]}"
            )
        if lines == ["absent"]:
            return None
        fields = dict(line.split("=", 1) for line in lines if "=" in line)
        if set(fields) != {"backend", "holder"}:
            raise Unknown(f"{self.path} can't be read as a claim: {out[:200]!r}")
        if fields["backend"] != self.backend:
            raise Unknown(
                f"the stack {self.stack} is claimed from another Pulumi backend by {fields['holder']}; "
                f"use another stack name, or tear it down from there ({self.path})"
            )
        return replace(self)

    def steps(self, actual: Self | None) -> Iterator[str]:  # noqa: ARG002
        path = quote(self.path)
        new = quote(f"{self.path}.new")
        yield trust.folder(self.path.rpartition("/")[0])
        yield f"rm -f -- {new}; set -C"
        yield (
            f"printf 'backend=%s\\nholder=%s\\n' {quote(self.backend)} {quote(self.holder)} >{new}; "
            f"mv -fT -- {new} {path}"
        )

    def remove(self) -> Iterator[str]:
        yield (
            f"rm -f -- {quote(self.path)} {quote(self.path + '.new')}; "
            f"rmdir --ignore-fail-on-non-empty -- {quote(self.path.rpartition('/')[0])} 2>/dev/null || true"
        )
