"""Which stack a command means: the one named, the one that matches, or of several the default."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hosts.errors import InputError
from hosts.problem import Problem
from hosts.schema import load_yaml
from hosts.words import nearest
from infra import spec
from infra.deployment import Deployment
from infra.stack_file import PREFIX


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a stack file says of itself, unchecked: none is proven only to find another one."""

    stack: str
    engine: str
    model: str
    fleet: str
    default: bool

    def matches(self, asked: Mapping[str, str]) -> bool:
        """Whether it has all that is asked; "" asks nothing."""
        mine = {"engine": self.engine, "model": self.model, "fleet": self.fleet}
        return all(value in ("", mine[name]) for name, value in asked.items())


def stack_of(name: str, folder: Path = spec.STACKS) -> Deployment:
    """The deployment of the stack named, or of the only or default one. Raises InputError that lists what there is."""
    if name:
        return spec.load(name, folder)
    names = spec.stacks(folder)
    chosen = names if len(names) == 1 else tuple(head.stack for head in _heads(folder) if head.default)
    if len(chosen) == 1:
        return spec.load(chosen[0], folder)
    problem = Problem(
        where="-s",
        found=f"{len(chosen)} stacks with slipway:default",
        wanted=f"one of {', '.join(names)}",
        fix="name it with -s",
    )
    raise InputError([problem])


def matching(*, engine: str, model: str, fleet: str, folder: Path = spec.STACKS) -> Deployment:
    """The one stack that matches ("" matches all), or of several the default. Raises InputError with the candidates."""
    asked = {"engine": engine, "model": model, "fleet": fleet}
    heads = tuple(_heads(folder))
    found = [head for head in heads if head.matches(asked)]
    best = found if len(found) == 1 else [head for head in found if head.default]
    if len(best) == 1:
        return spec.load(best[0].stack, folder)
    unknown = _unknown(asked, heads)
    meant = [f"--{name} {near}" for name, value in asked.items() if (near := nearest(value, unknown.get(name, ())))]
    why = [f"no stack has the {name} {asked[name]}, but {', '.join(has)}" for name, has in unknown.items()]
    unreadable = [name for name in spec.stacks(folder) if name not in {head.stack for head in heads}]
    if unreadable:
        why.append(f"stacks that can't be read: {', '.join(unreadable)}")
    problem = Problem(
        where=" ".join(f"--{name} {value}" for name, value in asked.items() if value) or "serve",
        found=f"{len(found)} stacks that match: {', '.join(head.stack for head in found) or 'none'}",
        wanted="one, or one of them with `slipway:default: true`",
        why="; ".join(why),
        fix=f"did you mean {' '.join(meant)}?"
        if meant
        else f"name it with -s; there are: {', '.join(spec.stacks(folder))}",
    )
    raise InputError([problem])


def _unknown(asked: Mapping[str, str], heads: Sequence[Head]) -> dict[str, list[str]]:
    """What stacks have in place of each word that none of them has."""
    has = {
        "engine": sorted({head.engine for head in heads} - {""}),
        "model": sorted({head.model for head in heads} - {""}),
        "fleet": sorted({head.fleet for head in heads} - {""}),
    }
    return {name: has[name] for name, value in asked.items() if value and value not in has[name]}


def _heads(folder: Path) -> Iterator[Head]:
    """Of each stack file that can be read at all; what is wrong in it is said when it is loaded."""
    for stack in spec.stacks(folder):
        try:
            data = load_yaml(folder / f"Pulumi.{stack}.yaml")
        except InputError:
            continue
        config = data.get("config") if isinstance(data, dict) else None
        if isinstance(config, dict):
            engine = config.get(f"{PREFIX}engine")
            yield Head(
                stack=stack,
                engine=_text(engine.get("name") if isinstance(engine, dict) else None),
                model=_text(config.get(f"{PREFIX}model")),
                fleet=_text(config.get(f"{PREFIX}fleet")),
                default=config.get(f"{PREFIX}default") is True,
            )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
