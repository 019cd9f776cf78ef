"""A plan for people (100 columns) and for programs (the fixed `plan` JSON): launch lines, stages, problems."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from hosts.state import Stage
from infra import runtime
from infra.command import Command
from infra.deployment import Deployment
from infra.desired import desired
from infra.engines import ENGINES
from infra.placement import Rank, place

WIDTH = 100
Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]


def plan_json(d: Deployment) -> dict[str, Json]:
    """The plan in the shape that `--json` prints."""
    return {
        "stack": d.stack,
        "fleet": d.fleet.name,
        "model": d.model.name,
        "engine": d.engine,
        "release": d.release,
        "launcher": d.launcher.name,
        "ranks": [_rank_json(d, n, rank) for n, rank in enumerate(place(d).ranks)],
        "command": by_hand(d),
        "stages": [
            {"name": stage.name, "hosts": {host: list(_keys(stage, host)) for host in stage.hosts}}
            for stage in _stages(d)
        ],
        "problems": [problem.to_json() for problem in d.warnings],
    }


def plan_text(d: Deployment) -> str:
    """The plan as a person reads it."""
    return "\n".join(_lines(d)) + "\n"


def by_hand(d: Deployment) -> str:
    """The one line that a person would type on the first node, with the environment activated."""
    command = _command(d, place(d).ranks[0])
    return Command(argv=command.argv, env=d.env).line()


def _lines(d: Deployment) -> Iterator[str]:
    yield f"{d.stack}: {d.model.name} by {d.engine} {d.release} through {d.launcher.name} on {d.fleet.name}"
    for n, rank in enumerate(place(d).ranks):
        command = _command(d, rank)
        yield ""
        yield from _wrap(f"rank {n} on {_host(d, rank)}, {_gpus(rank)}", 2)
        for line in command.assignments():
            yield f"    {line}"
        for name, secret in command.secrets.items():
            yield f"    {name}=(the secret {secret}, read on the host)"
        yield from f"    {command.lines('      ')}".splitlines()
    yield ""
    yield "stages"
    for stage in _stages(d):
        for hosts, keys in _grouped(stage):
            yield from _wrap(f"{stage.name} on {', '.join(hosts)}", 2)
            yield from _wrap(", ".join(keys), 4)
    if d.warnings:
        yield ""
        yield "problems"
        for problem in d.warnings:
            yield from _wrap(str(problem), 2)


def _stages(d: Deployment) -> tuple[Stage, ...]:
    # keys do not depend on who holds the claims, nor on the values of secrets
    return desired(d, backend="", holder="", digests={})


def _command(d: Deployment, rank: Rank) -> Command:
    return ENGINES[d.engine].command(d, rank)


def _rank_json(d: Deployment, n: int, rank: Rank) -> dict[str, Json]:
    command = _command(d, rank)
    common = runtime.environment(d, "")
    del common["SLIPWAY_FINGERPRINT"]  # made from the whole script
    return {
        "rank": n,
        "host": _host(d, rank),
        "gpus": list(rank.gpus),
        "role": "head" if rank.is_head else "follower",
        "env": {
            **common,
            **{name: str(word) for name, word in command.env.items()},
            **{name: f"(secret {secret})" for name, secret in command.secrets.items()},
        },
        "argv": [str(word) for word in command.argv],
    }


def _host(d: Deployment, rank: Rank) -> str:
    if rank.host:
        return rank.host
    names = ", ".join(host.name for host in place(d).candidates)
    return f"any of {names}" if d.fleet.slurm == "ours" else f"any node of {d.launcher.partition}"


def _gpus(rank: Rank) -> str:
    first, last = rank.gpus[0], rank.gpus[-1]
    return f"GPU {first}" if first == last else f"GPUs {first}-{last}"


def _keys(stage: Stage, host: str) -> tuple[str, ...]:
    return tuple(resource.key for resource in stage.hosts[host])


def _grouped(stage: Stage) -> Iterator[tuple[list[str], tuple[str, ...]]]:
    """(hosts, keys), hosts with the same keys together."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for host in stage.hosts:
        groups.setdefault(_keys(stage, host), []).append(host)
    yield from ((hosts, keys) for keys, hosts in groups.items())


def _wrap(text: str, indent: int) -> list[str]:
    space = " " * indent
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=space,
        subsequent_indent=space + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
