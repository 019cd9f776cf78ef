"""A stack file becomes a `Deployment`, or every problem that it has; both front ends read it here."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from hosts import fleet as fleets
from hosts.errors import InputError
from hosts.problem import Problem
from hosts.schema import Reader, load_yaml, nearest
from infra import environments, model, placement, stack_file
from infra.deployment import Argument, Deployment, LauncherConfig, Parallelism
from infra.engines import ENGINES
from infra.launchers import LAUNCHERS

__all__ = ["STACKS", "Argument", "Deployment", "LauncherConfig", "Parallelism", "load", "parse", "stacks"]

STACKS = Path(__file__).parent.parent / "stacks"
T = TypeVar("T")


def stacks(folder: Path = STACKS) -> tuple[str, ...]:
    """The stacks that have a file."""
    return tuple(sorted(path.stem.removeprefix("Pulumi.") for path in folder.glob("Pulumi.*.yaml")))


def load(stack: str, folder: Path = STACKS) -> Deployment:
    """The deployment of a stack. Raises InputError with every problem of its file."""
    if stack not in stacks(folder):
        near = nearest(stack, stacks(folder))
        problem = Problem(
            where="$",
            found=f"the stack {stack!r}",
            wanted=f"a stack with a file in {folder.name}/ ({', '.join(stacks(folder)) or 'none'})",
            fix=f"did you mean {near}?" if near else None,
        )
        raise InputError([problem])
    path = folder / f"Pulumi.{stack}.yaml"
    return parse(stack, load_yaml(path), str(path))


def parse(
    stack: str,
    data: object,
    place: str,
    *,
    inventory: Path = fleets.INVENTORY,
    models: Path = model.MODELS,
    envs: Path = environments.FOLDER,
) -> Deployment:
    """The deployment that parsed YAML says. Raises InputError with every problem, each with its `$.path`."""
    file = Reader(data, place)
    top = Reader(stack_file.own_keys(file), place, problems=file.problems)
    if not fleets.NAME.fullmatch(stack):
        top.problem("$", f"the stack {stack!r}", f"a name like {fleets.NAME.pattern}", why="it becomes the job's name")
    fleet = _named(top, "fleet", lambda name: fleets.load(name, inventory))
    the_model = _named(top, "model", lambda name: model.load(name, models))
    software = _named(top, "environment", lambda name: environments.load(name, envs))
    engine, release, args, env = _engine(top)
    launcher = stack_file.launcher(top.child("launcher"), fleet, tuple(LAUNCHERS))
    parallelism = stack_file.parallelism(top)
    port = stack_file.port(top)
    default = top.flag("default", default=False)
    stack_file.check_secrets(top)
    if top.raw("roles") is not None:
        top.problem("$.roles", "several roles", "one engine", why="deployments of several roles can't be run yet")
    top.done()
    if the_model:
        _check_heads(top, the_model, parallelism.tensor)
    if fleet:
        top.problems.extend(placement.problems(parallelism, launcher, fleet))
    what = f"the stack file {place} can't be used:"
    top.raise_problems(what)
    assert fleet is not None
    assert the_model is not None
    assert software is not None
    d = Deployment(
        stack=stack,
        fleet=fleet,
        model=the_model,
        engine=engine,
        release=release,
        args=args,
        env=env,
        launcher=launcher,
        parallelism=parallelism,
        environment=software.name,
        software=software,
        port=port,
        default=default,
        warnings=tuple(not_locked(software)),
    )
    top.problems.extend(_together(d))
    top.raise_problems(what)
    return d


def _engine(top: Reader) -> tuple[str, str, dict[str, Argument], dict[str, str]]:
    """(name, release, arguments, variables), the arguments held against the table of that release."""
    reader = top.child("engine")
    name = reader.choice("name", tuple(ENGINES))
    release = stack_file.quoted(reader, "release", r"[0-9][0-9A-Za-z.+-]*")
    args = dict(stack_file.arguments(reader, "args"))
    env = dict(stack_file.env(reader, "env"))
    reader.done()
    if release and reader.data.get("name") in ENGINES:
        known = ENGINES[name].releases()
        if release in known:
            top.problems.extend(ENGINES[name].argument_problems(release, args))
        else:
            wanted = f"a release of {name} with a table in infra/engines/flags/ ({', '.join(known)})"
            top.problem("$.engine.release", repr(release), wanted, why="its options could not be checked")
    return name, release, args, env


def _check_heads(top: Reader, the_model: model.Model, tensor: int) -> None:
    heads = the_model.architecture.heads
    if heads % tensor:
        fits = ", ".join(str(n) for n in range(1, heads + 1) if heads % n == 0)
        wanted = f"a divisor of {heads}, the attention heads of {the_model.name} ({fits})"
        top.problem("$.parallelism.tensor", str(tensor), wanted, why="each GPU takes whole heads")


def _named(top: Reader, key: str, load_it: Callable[[str], T]) -> T | None:
    """What a file elsewhere says, or None and the problems of that file."""
    name = top.word(key)
    if not name:
        return None
    try:
        return load_it(name)
    except InputError as error:
        for problem in error.problems:
            where = problem.where if problem.where == f"$.{key}" else f"$.{key} ({name}: {problem.where})"
            top.problems.append(replace(problem, where=where))
        return None


def _together(d: Deployment) -> Iterator[Problem]:
    """What a whole deployment is held against: its engine's and its launcher's rules."""
    engine, launcher = ENGINES[d.engine], LAUNCHERS[d.launcher.name]
    need = "single" if len(placement.place(d).ranks) == 1 else "tcp"
    if need not in engine.rendezvous & launcher.offers:
        yield Problem(
            where="$.launcher.name",
            rule="launcher",
            found=f"{launcher.name} with {engine.name} over several nodes",
            wanted="a launcher that brings the engine's ranks together",
        )
    yield from engine.problems(d)
    yield from launcher.problems(d)


def not_locked(software: environments.Environment) -> Iterator[Problem]:
    """A warning where an environment can't be installed yet; a requirement of the stack refuses to bring it up."""
    if not software.locked:
        missing = "conda.lock" if software.requirements else "requirements.txt"
        yield Problem(
            level="warning",
            rule="environment",
            where="$.environment",
            found=f"{software.name}, which has no {missing}",
            wanted="a locked environment",
            why="it can be previewed, not brought up",
            fix=f"run: invoke env.lock {software.name}",
        )
