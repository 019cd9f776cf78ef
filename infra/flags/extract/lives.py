"""Tables of many releases become one history: in which of them each option exists."""

import json
from collections.abc import Mapping, Sequence

from infra.flags.table import FlagTable, age


def lives(engine: str, tables: Mapping[str, FlagTable]) -> str:
    """The text of an engine's history file, one line an option."""
    releases = sorted(tables, key=age)
    have: dict[str, list[str]] = {}
    values: dict[str, bool] = {}
    for release in releases:
        table = tables[release]
        for name, canonical in table.spellings.items():
            if name.startswith("--") and not name.startswith("--no-"):
                have.setdefault(name, []).append(release)
                values[name] = table.flags[canonical].takes_value
    lines = [
        f"  {json.dumps(name)}: {json.dumps(_runs(releases, have[name]) + ('' if values[name] else ' switch'))}"
        for name in sorted(have)
    ]
    head = {
        "engine": engine,
        "source": f"the wheels of {len(releases)} releases of {engine}, {releases[0]} to {releases[-1]}",
        "releases": releases,
    }
    top = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    body = ",\n".join(lines)
    return "{\n" + ",\n".join([*top, f' "flags": {{\n{body}\n }}']) + "\n}\n"


def _runs(releases: Sequence[str], have: Sequence[str]) -> str:
    """`0.10.0..0.16.0 0.33.0`: unbroken runs among all releases."""
    runs: list[list[str]] = []
    before = -2
    for index, release in enumerate(releases):
        if release not in have:
            continue
        if before == index - 1:
            runs[-1][1] = release
        else:
            runs.append([release, release])
        before = index
    return " ".join(first if first == last else f"{first}..{last}" for first, last in runs)
