"""Prints rows as a table and keeps them as JSON in bench/results."""

import json
import platform
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

RESULTS = Path(__file__).parent / "results"
Row = dict[str, str | float | int]


def timed(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    began = monotonic()
    work()
    return monotonic() - began


def spread(seconds: Sequence[float]) -> str:
    """Median, least and most, in seconds."""
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}, n={len(seconds)})"


def report(name: str, title: str, rows: Sequence[Row]) -> None:
    """Prints the rows and writes `bench/results/<name>.json`."""
    print(f"\n{title}")
    if not rows:
        return
    columns = list(rows[0])
    widths = [max(len(c), *(len(str(row[c])) for row in rows)) for c in columns]
    print("  ".join(c.ljust(w) for c, w in zip(columns, widths, strict=True)))
    for row in rows:
        print("  ".join(str(row[c]).ljust(w) for c, w in zip(columns, widths, strict=True)))
    RESULTS.mkdir(exist_ok=True)
    document = {"title": title, "machine": platform.platform(), "rows": list(rows)}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
