"""Ranks and lines that are alike, told once: `1-15`, `dgx02 to dgx16`, the same with another number."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from infra.placement import Rank
from infra.typed_lines import words

MOST_NAMES = 4
MOST_DIFFERENCES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RankRow:
    """Consecutive ranks of one kind: their numbers, role, hosts and GPUs, as a table shows them."""

    ranks: str
    role: str
    hosts: str
    gpus: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A line to type on `where`, and where else the same is typed with what other values."""

    where: str
    line: str
    same: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """`on dgx1`, `in the pod`."""
        return f"in {self.where}" if self.where.startswith("the ") else f"on {self.where}"


def role(rank: Rank) -> str:
    """What a rank is."""
    part = "head" if rank.is_head else "follower"
    return f"{rank.role}, {part}" if rank.role else part


def rank_rows(ranks: Sequence[Rank], anywhere: str) -> Iterator[RankRow]:
    """A row for each run of ranks that differ in host or GPU alone; `anywhere` is where a scheduler may choose."""
    begin = 0
    for n in range(1, len(ranks) + 1):
        if n < len(ranks) and _alike(ranks[begin], ranks[n]):
            continue
        run = ranks[begin:n]
        hosts = list(dict.fromkeys(rank.host for rank in run))
        each = len(run) > 1 and run[0].rendezvous == "mpi"
        gpus = sorted({gpu for rank in run for gpu in rank.gpus})
        yield RankRow(
            ranks=str(begin) if len(run) == 1 else f"{begin}-{n - 1}",
            role=f"{role(run[0])}s" if each and not run[0].is_head else role(run[0]),
            hosts=names(hosts) if all(hosts) else anywhere,
            gpus=f"{gpus[0]}-{gpus[-1]}, one each" if each else spread(gpus),
        )
        begin = n


def _alike(first: Rank, other: Rank) -> bool:
    if (first.role, first.is_head) != (other.role, other.is_head):
        return False
    # one a GPU: a row for each host; one a node: a row for all
    return first.host == other.host if first.rendezvous == "mpi" else first.gpus == other.gpus


def spread(numbers: Sequence[int]) -> str:
    """`0-7`, or `0`."""
    return str(numbers[0]) if numbers[0] == numbers[-1] else f"{numbers[0]}-{numbers[-1]}"


def names(hosts: Sequence[str]) -> str:
    """All of a few; of many the first, the last and how many."""
    if len(hosts) <= MOST_NAMES:
        return ", ".join(hosts)
    return f"{hosts[0]} to {hosts[-1]} ({len(hosts)} hosts)" if _numbered(hosts) else _some(hosts)


def _some(hosts: Sequence[str]) -> str:
    return f"{hosts[0]}, {hosts[1]} and {len(hosts) - 2} more to {hosts[-1]}"


def _numbered(values: Sequence[str]) -> bool:
    """Whether they are one word with numbers that follow one another."""
    found = [re.fullmatch(r"(.*?)(\d+)", value) for value in values]
    if not all(found):
        return False
    pairs = [(it.group(1), int(it.group(2))) for it in found if it]
    return all(pair == (pairs[0][0], pairs[0][1] + n) for n, pair in enumerate(pairs))


def launches(lines: Sequence[tuple[str, str]]) -> Iterator[Launch]:
    """The lines in their order, each with those after it that differ in a few values alone."""
    begin = 0
    written = [words(line) for _, line in lines]
    for n in range(1, len(lines) + 1):
        if n < len(lines) and len(_differences(written[begin : n + 1])) <= MOST_DIFFERENCES:
            continue
        rest = range(begin + 1, n)
        yield Launch(
            where=lines[begin][0],
            line=lines[begin][1],
            same=(_same([lines[m][0] for m in rest], written[begin:n]),) if rest else (),
        )
        begin = n


def _differences(lines: Sequence[list[str]]) -> tuple[int, ...]:
    """Where they differ; more than may be where something else than an option's value does."""
    first = lines[0]
    if any(len(line) != len(first) for line in lines):
        return tuple(range(MOST_DIFFERENCES + 1))
    places = tuple(n for n, word in enumerate(first) if any(line[n] != word for line in lines))
    values = all(n and first[n - 1].startswith("-") and not first[n].startswith("-") for n in places)
    return places if values else tuple(range(MOST_DIFFERENCES + 1))


def _same(where: Sequence[str], lines: Sequence[list[str]]) -> str:
    """`dgx02 to dgx04: the same with --node-rank 1 to 3`."""
    others = [f"{lines[0][n - 1]} {_values([line[n] for line in lines[1:]])}" for n in _differences(lines)]
    return f"{names(where)}: the same" + (f" with {', '.join(others)}" if others else "")


def _values(values: Sequence[str]) -> str:
    if len(values) == 1:
        return values[0]
    return f"{values[0]} to {values[-1]}" if _numbered(values) else ", ".join(values)
