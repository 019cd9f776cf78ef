"""In which releases of an engine an option exists: when it came, when it went."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from infra.flags.table import FOLDER, age


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """The releases that have an option: runs of the first and the last of them, among those that were read."""

    runs: tuple[tuple[str, str], ...]
    value: bool
    """Whether it takes a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The options of an engine over its releases."""

    engine: str
    releases: tuple[str, ...]
    source: str
    flags: Mapping[str, Life]

    def told(self, flag: str, release: str) -> str:
        """What is known of an option that a release lacks; "" where nothing is."""
        life = self.flags.get(flag)
        if life is None:
            return ""
        before = [run for run in life.runs if age(run[1]) < age(release)]
        after = [run for run in life.runs if age(run[0]) > age(release)]
        parts = []
        if before:
            last = before[-1][1]
            gone = next((one for one in self.releases if age(one) > age(last)), "")
            parts.append(f"the last release read that has it is {last}" + (f", {gone} has not" if gone else ""))
        if after:
            parts.append(f"it came after this release; {after[0][0]} has it")
        return "; ".join(parts)


@cache
def history(engine: str, folder: Path = FOLDER) -> History:
    """The history of an engine; one without releases where none was recorded."""
    path = folder / f"history-{engine}.json"
    if not path.is_file():
        return History(engine=engine, releases=(), source="", flags={})
    data = json.loads(path.read_text(encoding="utf-8"))
    return History(
        engine=engine,
        releases=tuple(data["releases"]),
        source=data["source"],
        flags={name: _life(entry) for name, entry in data["flags"].items()},
    )


def _life(entry: str) -> Life:
    """`0.10.0..0.16.0 0.18.1..0.33.0`, with `switch` behind it for an option without a value."""
    *spans, kind = entry.split()
    if kind not in ("switch", "value"):
        spans, kind = [*spans, kind], "value"
    runs = tuple((first, last or first) for first, _, last in (span.partition("..") for span in spans))
    return Life(runs=runs, value=kind == "value")
