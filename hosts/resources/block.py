"""Lines of ours in a text file of somebody else's (`/etc/hosts`), between two marks; the rest stays as it is."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from hosts.errors import Unknown
from hosts.shell import quote
from hosts.state import Base


@dataclass(frozen=True, slots=True, kw_only=True)
class Block(Base):
    """Whole lines at the end of the file `path`, marked with `name`; `content` ends with a newline or is empty."""

    kind: ClassVar[str] = "Block"
    path: str
    name: str
    content: str

    @property
    def key(self) -> str:
        return f"block:{self.path}:{self.name}"

    @property
    def marks(self) -> tuple[str, str]:
        """The lines before and after ours."""
        return f"# slipway {self.name}: begin (edits in here are lost)", f"# slipway {self.name}: end"

    def _awk(self, program: str) -> str:
        begin, end = self.marks
        return f"begin={quote(begin)} end={quote(end)} awk {quote(program)}"

    def probe(self) -> str:
        program = (
            '$0 == ENVIRON["begin"] { n++; open = 1; next } $0 == ENVIRON["end"] && open { open = 0; next } '
            'open { print } END { print "\\036" (open ? "open" : n > 1 ? "twice" : n ? "block" : "absent") }'
        )
        return (
            f'p={quote(self.path)}; if [ ! -e "$p" ]; then echo absent; '
            'elif [ ! -r "$p" ]; then echo unreadable; '
            f'else {self._awk(program)} "$p" | base64 -w0; fi'
        )

    def parse(self, out: str) -> Self | None:
        if out.strip() == "absent":
            return None
        if out.strip() == "unreadable":
            raise Unknown(f"{self.path} can't be read by this user")
        try:
            body, _, state = base64.b64decode(out, validate=False).decode("utf-8", "surrogateescape").rpartition("\x1e")
        except ValueError:
            state = body = ""
        match state.strip():
            case "absent":
                return None
            case "block":
                return replace(self, content=body)
            case "twice":
                return replace(self, content="(it stands there more than once)")
            case "open":
                raise Unknown(
                    f"{self.path} has the line {self.marks[0]!r} and no {self.marks[1]!r} after it; put that line back"
                )
        raise Unknown(f"its probe printed {out[:200]!r}")

    def _rewrite(self, ours: str) -> str:
        """Shell that writes the file anew beside it and renames: less our lines, with `ours` (shell) printed last."""
        drop = '$0 == ENVIRON["begin"] { open = 1; next } $0 == ENVIRON["end"] && open { open = 0; next } !open'
        return (
            f'p=$(readlink -f -- {quote(self.path)}); [ -e "$p" ] || (umask 022; : >"$p")\n'
            'rm -f -- "$p.slipway-new"; cp --attributes-only --preserve=all -- "$p" "$p.slipway-new"\n'
            f'{{ {self._awk(drop)} "$p"; {ours}; }} >"$p.slipway-new"\n'
            'mv -fT -- "$p.slipway-new" "$p"'
        )

    def steps(self, actual: Self | None) -> Iterator[str]:  # noqa: ARG002
        begin, end = self.marks
        lines = base64.b64encode(f"{begin}\n{self.content}{end}\n".encode("utf-8", "surrogateescape")).decode()
        yield self._rewrite(f"base64 -d <<<{quote(lines)}")

    def remove(self) -> Iterator[str]:
        yield f"if [ -e {quote(self.path)} ]; then\n{self._rewrite(':')}\nfi"
