"""A model's files, each with size and sha256: verified where they lie, or copied from a path and then verified."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from hosts import trust
from hosts.errors import Unknown
from hosts.resources.detached import run_detached
from hosts.resources.programs import program, run
from hosts.shell import quote
from hosts.state import Base, fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights(Base):
    """A folder of weights, code, tokenizer and configuration; `manifest` is `SHA256 SIZE NAME` by file, sorted by name.

    An empty manifest takes the folder as it is found first (after its index and shards agreed) and holds it to that.
    `records` is a folder of ours for what was hashed when, so that hundreds of GiB are read once and not at each run.
    Refused where another user could change what was verified: among the files is code that the engine runs.
    `claim` is the file of the stack's claim on the folder.
    """

    kind: ClassVar[str] = "Weights"
    path: str
    manifest: tuple[str, ...]
    source: str = ""
    records: str
    claim: str = ""

    @property
    def key(self) -> str:
        return f"weights:{self.path}"

    @property
    def record(self) -> str:
        """The file of what was hashed in this folder."""
        return f"{self.records}/{fingerprint(self.path)}.json"

    def probe(self) -> str:
        return f"{trust.probed(self.path, self.records)}\n{run('weights', 'probe', self.path, self.record)}"

    def parse(self, out: str) -> Self | None:
        trust.refuse(out)
        lines = out.splitlines()
        if lines == ["absent"]:
            return None
        if not lines or lines[-1] != "end":
            raise Unknown(f"{self.path} could not be read: {' '.join(out.split())[-300:]}")
        if not self.manifest:
            wrong = tuple(line[len("wrong ") :] for line in lines if line.startswith("wrong "))
            return replace(self, manifest=wrong)
        wanted = {line.split(" ", 2)[2] for line in self.manifest}
        found = (line[len("file ") :] for line in lines if line.startswith("file "))
        return replace(self, manifest=tuple(sorted((f for f in found if f.split(" ", 2)[2] in wanted), key=_name)))

    def steps(self, actual: Self | None) -> Iterator[str]:  # noqa: ARG002
        tool = f"{self.record}.py"
        yield trust.folder(self.records)
        yield trust.folder(self.path.rpartition("/")[0])
        if self.source and not self.manifest:
            yield trust.trusted(self.source)  # nothing else says what the files should be
        yield (
            f"cat >{quote(self.record + '.manifest')} <<'SLIPWAY_MANIFEST'\n"
            + "\n".join(self.manifest)
            + "\nSLIPWAY_MANIFEST"
        )
        yield f"cat >{quote(tool)} <<'SLIPWAY_PROGRAM'\n{program('weights')}\nSLIPWAY_PROGRAM"
        command = ["python3", "-I", tool, "make", self.path, self.record, self.record + ".manifest", self.source]
        yield run_detached(
            f"slipway-weights-{fingerprint(self.path)}", shlex.join(command), f"{self.record}.log", self.claim
        )

    def remove(self) -> Iterator[str]:
        if self.source:
            yield f"rm -rf --one-file-system -- {quote(self.path)}"
        yield f"rm -f -- {' '.join(quote(self.record + end) for end in ('', '.manifest', '.py', '.log'))}"


def _name(line: str) -> str:
    return line.split(" ", 2)[2]
