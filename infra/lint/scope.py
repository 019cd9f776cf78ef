"""What is known of a script's variables at each place; what two branches set differently only the run knows."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from infra.flags.words import Token

MAX_VALUE = 1 << 16
"""Characters of one variable; a longer value counts as unknown."""

MAX_EXPORTED = 2000
"""How many exported variables a command is given."""

Variable = Token | tuple[Token, ...] | None
"""A text, an array, or None: assigned, to what only the run knows."""


@dataclass(slots=True)
class Block:
    """An `if`, loop, `case`, function or subshell that is open, and what its branches have set so far."""

    kind: str
    branches: list[dict[str, Variable]] = field(default_factory=list)
    exhaustive: bool = False
    inside: bool = False
    """Whether the frame of one of its branches is open."""


@dataclass(slots=True)
class Scope:
    """Variables in frames: the outermost is the script's, each branch that is open has one of its own."""

    frames: list[dict[str, Variable]] = field(default_factory=lambda: [{}])
    blocks: list[Block] = field(default_factory=list)
    exported: dict[str, int] = field(default_factory=dict)
    """The line in which each was exported last."""

    def __contains__(self, name: str) -> bool:
        return any(name in frame for frame in self.frames)

    def get(self, name: str) -> Variable:
        """The innermost value."""
        return next((frame[name] for frame in reversed(self.frames) if name in frame), None)

    def put(self, name: str, value: Variable, *, perhaps: bool = False) -> None:
        """Assigns; `perhaps` where the command before it decides whether."""
        if perhaps and name in self and not _same(self.get(name), value):
            value = None
        size = sum(len(token.text) for token in value) if isinstance(value, tuple) else len(value.text) if value else 0
        self.frames[-1][name] = None if size > MAX_VALUE else value

    def env(self) -> Iterator[tuple[str, str]]:
        """Exported variables whose value is certain."""
        for name in islice(self.exported, MAX_EXPORTED):
            value = self.get(name)
            if isinstance(value, Token) and value.known:
                yield name, value.text

    def open(self, kind: str) -> None:
        """Begins a block."""
        self.blocks.append(Block(kind=kind))

    def branch(self, *, exhaustive: bool = False) -> None:
        """Ends the block's branch where one is open, and begins the next one."""
        if self.blocks:
            self.leave()
            self.blocks[-1].exhaustive |= exhaustive
            self.blocks[-1].inside = True
            self.frames.append({})

    def leave(self) -> None:
        """Ends the branch that is open."""
        if self.blocks and self.blocks[-1].inside:
            self.blocks[-1].inside = False
            self.blocks[-1].branches.append(self.frames.pop())

    def close(self, *kinds: str) -> None:
        """Ends the innermost block, where it is one of these, and keeps what its branches agree on."""
        if not self.blocks or self.blocks[-1].kind not in kinds:
            return
        self.leave()
        block = self.blocks.pop()
        if block.kind != "subshell":
            self._merge(block)

    def _merge(self, block: Block) -> None:
        names = {name: None for branch in block.branches for name in branch}
        for name in names:
            values = [branch[name] for branch in block.branches if name in branch]
            whole = block.exhaustive and len(values) == len(block.branches)
            before = self.get(name)
            if not whole and name in self:
                values.insert(0, before)
            same = all(_same(values[0], value) for value in values)
            self.frames[-1][name] = values[0] if same and (whole or name in self) else _longest(before, values)


def _same(one: Variable, other: Variable) -> bool:
    if isinstance(one, Token) and isinstance(other, Token):
        return one.text == other.text and one.known == other.known
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return one is other


def _longest(before: Variable, values: list[Variable]) -> Variable:
    """Where branches add to what was there: the first that adds, for its words may be run; else None."""
    if isinstance(before, tuple):
        for value in values:
            if isinstance(value, tuple) and len(value) > len(before) and value[: len(before)] == before:
                return value
        return None
    if isinstance(before, Token) and before.text:
        for value in values:
            if isinstance(value, Token) and value is not before and value.text.startswith(f"{before.text} "):
                return value
    return None
