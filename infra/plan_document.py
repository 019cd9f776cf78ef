"""A plan for programs: the fixed JSON of `invoke plan --json` (DESIGN.md 1), with a few keys more."""

from collections.abc import Mapping, Sequence
from typing import TypeGuard

from infra import runtime, shown
from infra.command import Command
from infra.deployment import Deployment
from infra.engines import ENGINES
from infra.launchers import LAUNCHERS
from infra.ledger.fit import Fit
from infra.placement import Rank, place
from infra.proof import prove
from infra.reading import Reading

Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]


def reading(it: Deployment | Reading) -> Reading:
    """A deployment that was found right, as one that was read."""
    if isinstance(it, Reading):
        return it
    return Reading(deployment=it, problems=it.warnings, fits=prove(it).fits)


def plan_json(it: Deployment | Reading) -> dict[str, Json]:
    """The plan in the shape that `--json` prints."""
    it = reading(it)
    d = it.deployment
    full = _fullest(it.fits)
    return {
        "stack": d.stack,
        "ok": not it.errors,
        "fleet": d.fleet.name,
        "model": d.model.name,
        "engine": d.engine,
        "release": d.release,
        "launcher": d.launcher.name,
        "ranks": _ranks_json(it),
        "command": by_hand(it),
        "commands": [{"where": where, "line": line} for where, line in _lines_by_hand(it)],
        "files": dict(shown.files(it)),
        "stages": [
            {"name": stage.name, "hosts": {host: [r.key for r in keys] for host, keys in stage.hosts.items()}}
            for stage in shown.stages(it)
        ],
        "ledger": _ledger_json(full) if full else None,
        "ledgers": {role: _fit_json(fit) for role, fit in it.fits.items()},
        "changes": {role: [_as_json(change.to_json()) for change in found] for role, found in it.changes.items()},
        "left_out": list(it.left_out),
        "cost": shown.cost(it),
        "problems": [problem.to_json() for problem in (*it.errors, *it.warnings)],
    }


def by_hand(it: Deployment | Reading) -> str:
    """The one line that a person would type to start the engine; on the first node, with the environment activated."""
    it = reading(it)
    d, lines = it.deployment.by_hand, _lines_by_hand(it)
    if not lines:
        return ""
    engine = Command(argv=LAUNCHERS[d.launcher.name].commands(d, place(d), ENGINES[d.engine])[0].argv).line()
    return next((line for _, line in lines if line.endswith(engine)), lines[0][1])


def _lines_by_hand(it: Reading) -> tuple[tuple[str, str], ...]:
    d = it.deployment
    return LAUNCHERS[d.launcher.name].by_hand(d, place(d), ENGINES[d.engine]) if it.rendered else ()


def _ranks_json(it: Reading) -> list[Json]:
    d = it.deployment
    if not it.placed:
        return []
    placed = place(d)
    none = Command(argv=())
    commands: Sequence[Command] = [none] * len(placed.ranks)
    if it.rendered:
        commands = LAUNCHERS[d.launcher.name].commands(d, placed, ENGINES[d.engine])
    anywhere = shown.anywhere(d)
    return [
        _rank_json(d, n, rank, command, anywhere)
        for n, (rank, command) in enumerate(zip(placed.ranks, commands, strict=True))
    ]


def _rank_json(d: Deployment, n: int, rank: Rank, command: Command, anywhere: str) -> dict[str, Json]:
    common = runtime.environment(d, "")
    del common["SLIPWAY_FINGERPRINT"]  # made from the whole script
    return {
        "rank": n,
        "host": rank.host or anywhere,
        "gpus": list(rank.gpus),
        "role": rank.role or ("head" if rank.is_head else "follower"),
        "head": rank.is_head,
        "env": {
            **common,
            **{name: str(word) for name, word in command.env.items()},
            **{name: f"(secret {secret})" for name, secret in command.secrets.items()},
        },
        "argv": [str(word) for word in command.argv],
    }


def _fullest(fits: Mapping[str, Fit]) -> Fit | None:
    """That of the part whose GPUs have the least room left."""
    return min(fits.values(), key=lambda fit: (-fit.missing_gib, fit.gpu.kv / fit.request.gpu.total_gib), default=None)


def _ledger_json(fit: Fit) -> dict[str, Json]:
    made = _fit_json(fit)
    return {"fits": made["fits"], "gpu": made["gpu"], "host": made["host"]}


def _fit_json(fit: Fit) -> dict[str, Json]:
    return _as_json({key: value for key, value in fit.to_json().items() if key != "problems"})


def _as_json(made: Mapping[str, object]) -> dict[str, Json]:
    """What another module made for JSON."""
    return {key: value for key, value in made.items() if _is_json(value)}


def _is_json(value: object) -> TypeGuard[Json]:
    return value is None or isinstance(value, str | int | float | list | dict)
