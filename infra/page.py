"""A plan as one self-contained page: what a terminal shows, the ledger as a picture; no request, no script."""

from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from infra import shown, view
from infra.bars import Part, filled
from infra.deployment import Deployment
from infra.engines import ENGINES
from infra.placement import place
from infra.reading import Reading
from infra.shown import Ledger, Need
from infra.typed_lines import rows

FOLDER = Path(__file__).parent / "templates"
LINE_WIDTH = 100
SHADES = 8
"""So many tints tell the components of weights apart: as many as a model was seen to have."""
SUM = "sum"
PICTURE = 1000
"""The picture's own width; the page stretches it."""

_environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(FOLDER),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def plan_html(it: Deployment | Reading) -> str:
    """The page."""
    it = view.reading(it)
    d = it.deployment
    return _environment.get_template("plan.html.j2").render(
        stack=d.stack,
        title=shown.title(d),
        verdict=_verdict(it),
        problems=[
            {"level": p.level, "where": p.where, "token": p.token, "said": view.said(p)}
            for p in (*it.errors, *it.warnings)
        ],
        ranks=shown.ranks(it),
        ledgers=[_ledger(ledger) for ledger in shown.ledgers(it)],
        no_ledger=view.no_ledger(it),
        needs=_needs,
        shades=SHADES,
        limits=shown.limits(it),
        cost=shown.cost(it),
        launches=[
            {"where": launch.place, "text": "\n".join(rows(launch.line, LINE_WIDTH, 0)), "same": launch.same}
            for launch in shown.by_hand(it)
        ],
        left_out=", ".join(it.left_out),
        secrets=_secrets(it),
        files=[{"name": name, "text": text} for name, text in shown.files(it).items()],
        stages=[
            {
                "name": stage.name,
                "count": stage.count,
                "hosts": stage.hosts,
                "groups": [{"hosts": hosts, "keys_of_it": keys} for hosts, keys in stage.groups],
            }
            for stage in shown.stage_rows(it)
        ],
    )


def _verdict(it: Reading) -> dict[str, str]:
    """The one thing to know first."""
    kind = "error" if it.errors else "warning" if it.warnings else "good"
    return {"kind": kind, "text": shown.verdict(it)}


def _secrets(it: Reading) -> list[dict[str, str]]:
    if not it.rendered:
        return []
    d = it.deployment
    found = ENGINES[d.engine].command(d, place(d).ranks[0]).secrets
    return [{"variable": variable, "name": name} for variable, name in found.items()]


def _ledger(it: Ledger) -> dict[str, object]:
    whole = max(it.total_gib, filled(it.parts))
    drawn = _colours(it.parts)
    return {
        "role": it.role,
        "title": it.title,
        "label": ", ".join(f"{part.name} {part.gib:.1f} GiB" for part in it.parts if not part.inner),
        "pieces": _pieces(drawn, whole),
        "rim": f"{PICTURE * it.total_gib / whole:.1f}" if whole > it.total_gib else "",
        "total": f"{it.total_gib:.1f}",
        "limit": f"{PICTURE * it.usable_gib / whole:.1f}",
        "usable": f"{it.usable_gib:.1f}",
        "most": f"{whole:.1f}",
        "rows": [{"name": part.name, "gib": f"{part.gib:.1f}", "inner": part.inner, "css": css} for part, css in drawn],
        "said": it.said,
        "missing": f"{it.missing_gib:.1f}" if it.missing_gib else "",
        "fits": it.fits,
        "changes": [{"text": c.text, "cost": c.cost, "tokens": f"{c.tokens:,}"} for c in it.changes],
        "needs": it.needs,
    }


def _colours(parts: Sequence[Part]) -> list[tuple[Part, str]]:
    """Each part with its class: components of weights in turns, the second of another kind in its other tint.

    A sum of components has no colour of its own, for it is not drawn.
    """
    seen: dict[str, int] = {}
    found: list[tuple[Part, str]] = []
    for at, part in enumerate(parts):
        if not part.inner and at + 1 < len(parts) and parts[at + 1].inner:
            found.append((part, SUM))
            continue
        kind = "inner" if part.inner else part.kind
        n = seen[kind] = seen.get(kind, -1) + 1
        found.append((part, f"weights-{n % SHADES}" if part.inner else f"{kind}-1" if n else kind))
    return found


def _pieces(drawn: Sequence[tuple[Part, str]], whole: float) -> list[dict[str, str]]:
    """Rectangles from left to right: a part that has components is drawn as those."""
    found: list[dict[str, str]] = []
    at = 0.0
    for part, css in drawn:
        if css == SUM:
            continue
        found.append(
            {
                "css": css,
                "x": f"{PICTURE * at / whole:.1f}",
                "width": f"{PICTURE * part.gib / whole:.1f}",
                "label": f"{part.name}: {part.gib:.1f} GiB",
            }
        )
        at += 0.0 if part.kind == "missing" else part.gib
    return found


def _needs(found: Sequence[Need]) -> Markup:
    """A table of needs, each against what there is."""
    made = [
        {
            "name": need.name,
            "needs": need.needs,
            "has": need.has,
            "whose": need.whose,
            "gauge": None if need.share is None else f"{min(100.0, 100 * need.share):.0f}",
            "percent": "" if need.share is None else f"{100 * need.share:.0f}",
            "css": "over" if (need.share or 0) > 1 else "weights",
        }
        for need in found
    ]
    return Markup(_environment.get_template("needs.html.j2").render(found=made))  # noqa: S704 - rendered with escapes
