"""The range of numbers that a user may give to the users inside rootless containers (/etc/subuid and /etc/subgid)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from hosts.errors import Unknown
from hosts.shell import quote
from hosts.state import Base

FILES = {"/etc/subuid": "subuids", "/etc/subgid": "subgids"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SubordinateIds(Base):
    """At least `count` numbers in both files; a user who lacks them gets those from `first` on, if nobody has them.

    `usermod` writes them: useradd sorts these files by line, so that marks around a block of ours would not hold.
    """

    kind: ClassVar[str] = "SubordinateIds"
    user: str
    first: str
    count: str

    @property
    def key(self) -> str:
        return f"subordinate-ids:{self.user}"

    @property
    def last(self) -> int:
        """The last of the numbers from `first` on."""
        return int(self.first) + int(self.count) - 1

    def probe(self) -> str:
        program = (
            "$1 == user { n += $3 } "
            '$1 != user && $2 <= last && $2 + $3 > first { print "taken " $0 " (" FILENAME ")" } '
            f'END {{ if (n >= {int(self.count)}) print "enough" }}'
        )
        variables = f"-v user={quote(self.user)} -v first={int(self.first)} -v last={self.last}"
        return "\n".join(f"[ ! -e {file} ] || awk -F: {variables} {quote(program)} {file}" for file in FILES)

    def parse(self, out: str) -> Self | None:
        lines = out.splitlines()
        if lines.count("enough") == len(FILES):
            return replace(self)
        taken = [line.removeprefix("taken ") for line in lines if line.startswith("taken ")]
        if taken:
            raise Unknown(
                f"the numbers {self.first} to {self.last}, wanted for containers of {self.user}, are given away: "
                f"{', '.join(taken)}; give {self.user} others with usermod --add-subuids and --add-subgids"
            )
        return None

    def steps(self, actual: Self | None) -> Iterator[str]:  # noqa: ARG002
        yield from self._usermod("add")

    def remove(self) -> Iterator[str]:
        yield from self._usermod("del")

    def _usermod(self, verb: str) -> Iterator[str]:
        line = quote(f"{self.user}:{self.first}:{self.count}")
        skip = "" if verb == "add" else "! "
        for file, numbers in FILES.items():
            change = f"usermod --{verb}-{numbers} {int(self.first)}-{self.last} -- {quote(self.user)}"
            yield f"{skip}grep -qxF -- {line} {file} 2>/dev/null || {change}"
