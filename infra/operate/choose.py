"""Which stack a command means: the one named, the one that matches, or of several the default."""

from hosts.errors import InputError, SlipwayError
from hosts.problem import Problem
from infra import spec
from infra.deployment import Deployment


def stack_of(name: str) -> Deployment:
    """The deployment of the stack named, or of the only or default one. Raises InputError that lists what there is."""
    if name:
        return spec.load(name)
    names = spec.stacks()
    chosen = names if len(names) == 1 else tuple(n for n in names if _is_default(n))
    if len(chosen) == 1:
        return spec.load(chosen[0])
    problem = Problem(
        where="-s",
        found=f"{len(chosen)} stacks with slipway:default",
        wanted=f"one of {', '.join(names)}",
        fix="name it with -s",
    )
    raise InputError([problem])


def _is_default(name: str) -> bool:
    try:
        return spec.load(name).default
    except SlipwayError:
        return False


def matching(*, engine: str, model: str, fleet: str) -> Deployment:
    """The one stack that matches ("" matches all), or of several the default. Raises InputError with the candidates."""
    unreadable: list[str] = []
    found: list[Deployment] = []
    for name in spec.stacks():
        try:
            it = spec.load(name)
        except SlipwayError as error:
            unreadable.append(f"{name} ({str(error).splitlines()[0]})")
            continue
        if engine in ("", it.engine) and model in ("", it.model.name) and fleet in ("", it.fleet.name):
            found.append(it)
    best = found if len(found) == 1 else [it for it in found if it.default]
    if len(best) == 1:
        return best[0]
    asked = {"engine": engine, "model": model, "fleet": fleet}
    problem = Problem(
        where=" ".join(f"--{name} {value}" for name, value in asked.items() if value) or "serve",
        found=f"{len(found)} stacks that match: {', '.join(it.stack for it in found) or 'none'}",
        wanted="one, or one of them with `slipway:default: true`",
        why=f"stacks that can't be read: {'; '.join(unreadable)}" if unreadable else "",
        fix=f"name it with -s; there are: {', '.join(spec.stacks())}",
    )
    raise InputError([problem])
