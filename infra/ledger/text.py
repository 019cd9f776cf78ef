"""The ledger for a terminal: bars with numbers, problems first, and what would make it fit."""

from collections.abc import Iterator, Sequence

from infra.ledger.fit import Fit
from infra.ledger.nearest import Suggestion

BAR_CELLS = 40
EIGHTHS = " ▏▎▍▌▋▊▉█"


def lines(found: Fit, suggestions: Sequence[Suggestion] = (), *, width: int = 100) -> Iterator[str]:
    """What `invoke fit` prints."""
    r, d, host = found.request, found.gpu, found.host
    for problem in found.problems:
        yield str(problem)
    if found.problems:
        yield ""
    cut = " x ".join(
        f"{name} {size}"
        for name, size in (("tensor", r.tensor), ("pipeline", r.pipeline), ("data", r.data))
        if size > 1 or name == "tensor"
    )
    yield f"{r.model.name} on {r.engine} {r.release}: {r.nodes} x {r.gpus_per_node} {r.gpu.name}, {cut}"[:width]
    answer = "fits" if found.fits else "does not fit"
    yield f"  {answer}; KV cache for {d.tokens:,} tokens, longest sequence {found.longest:,}"
    if found.longest < r.context:
        yield f"  a sequence ends where the cache does; the model's own longest has {r.context:,} tokens"
    yield ""
    yield f"  GiB of the fullest GPU ({r.gpu.total_gib:.1f}; {d.usable:.1f} usable)"
    for name, size in found.picture.items():
        yield f"  {name:<24}{size:>8.2f}  {bar(size / r.gpu.total_gib)}".rstrip()
    if found.missing_gib:
        yield f"  {'missing':<24}{found.missing_gib:>8.2f}"
    yield ""
    yield (
        f"  a node: {host.ram_gib:.0f} GiB of RAM, {host.shm_gib:.0f} of /dev/shm, {host.disk_gib:.0f} of disk; "
        f"page cache up to {host.page_cache_gib:.0f} while loading"
    )
    if suggestions:
        yield ""
        yield "  what would make it fit, cheapest first:"
    for suggestion in suggestions:
        yield f"    {suggestion.text}  ({suggestion.cost}; then {suggestion.fit.gpu.tokens:,} tokens)"


def bar(share: float, cells: int = BAR_CELLS) -> str:
    """A bar of eighths of a cell; what is there at all shows."""
    eighths = max(1 if share > 0 else 0, round(min(1.0, max(0.0, share)) * cells * 8))
    full, rest = divmod(eighths, 8)
    return EIGHTHS[-1] * full + (EIGHTHS[rest] if rest else "")
