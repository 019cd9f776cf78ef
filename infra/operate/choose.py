"""Which stack a command means: the one that is named or selected, or the only one that comes into question."""

from collections.abc import Callable, Iterator, Mapping, Sequence
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What this person's Pulumi knows: the stack that is selected ("": none), and those that are up."""

    selected: str = ""
    up: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A stack, and why it is meant."""

    stack: str
    why: str


def choose(variable: str, known: Callable[[], Known], folder: Path = spec.STACKS) -> Choice:
    """The stack of a command that names none. Raises InputError that lists what there is.

    First found wins: `variable` (SLIPWAY_STACK), the only stack that has a file, the one selected in Pulumi, the
    default one, the only one that is up. What Pulumi knows takes a process to find out: it is asked for last.
    """
    names = spec.stacks(folder)
    if variable:
        return Choice(stack=variable, why="SLIPWAY_STACK")
    if len(names) == 1:
        return Choice(stack=names[0], why="the only stack")
    pulumi = known()
    up = tuple(name for name in pulumi.up if name in names)
    default = tuple(head.stack for head in _heads(folder) if head.default)
    if pulumi.selected in names:
        return Choice(stack=pulumi.selected, why="selected by `pulumi stack select`")
    if len(default) == 1:
        return Choice(stack=default[0], why="slipway:default in its file")
    if len(up) == 1:
        return Choice(stack=up[0], why="the only one that is up")
    problem = Problem(
        where="-s",
        found="no stack named",
        wanted=f"one of {', '.join(names) or 'those that have a file in stacks/ (none has)'}",
        why=f"selected in Pulumi: none; with slipway:default: {', '.join(default) or 'none'}; "
        f"up: {', '.join(up) or 'none'}",
        fix="name it with -s, set SLIPWAY_STACK, or run: pulumi stack select",
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
    all_there_are = f"name one with -s; there are: {', '.join(spec.stacks(folder))}"
    problem = Problem(
        where=" ".join(f"--{name} {value}" for name, value in asked.items() if value) or "serve",
        found=f"{len(found)} stacks that match: {', '.join(head.stack for head in found)}" if found else "no match",
        wanted="one stack that matches, or one of several with `slipway:default: true`",
        why="; ".join(why),
        fix=f"did you mean {' '.join(meant)}?" if meant else "name one with -s" if found else all_there_are,
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
