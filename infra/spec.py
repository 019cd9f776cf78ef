"""A stack file becomes a `Deployment`, or every problem that it has; both front ends read it here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from hosts import fleet as fleets
from hosts.errors import InputError
from hosts.problem import Problem
from hosts.schema import Reader, load_yaml, nearest
from infra import environments, model, placement, stack_file
from infra.deployment import Argument, Deployment, LauncherConfig, Parallelism, Role
from infra.engines import ENGINES
from infra.launchers import LAUNCHERS
from infra.proof import prove

__all__ = ["STACKS", "Argument", "Deployment", "LauncherConfig", "Parallelism", "load", "parse", "stacks"]

STACKS = Path(__file__).parent.parent / "stacks"
T = TypeVar("T")
_MEETING: Mapping[placement.Rendezvous, str] = {
    "single": "the engine's processes are ranks that a launcher must start",
    "tcp": "the engine's ranks do not find each other over TCP alone",
    "mpi": "the engine's processes are not ranks of an MPI job",
    "ray": "the engine does not run on Ray",
}
"""Why an engine can't be brought together so."""


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
    draft = _named(top, "draft", lambda name: model.load(name, models)) if top.has("draft") else None
    image = stack_file.image(top)
    software = _software(top, image, envs)
    name, release, args, env, config = _engine(top)
    asked = top.child("launcher")
    launcher = stack_file.launcher(asked, fleet, tuple(LAUNCHERS))
    roles = stack_file.roles(top, ENGINES[name].roles, name)
    parallelism = stack_file.parallelism(top) if not roles else Parallelism()
    router = stack_file.router(top)
    port = stack_file.port(top)
    experts = top.word("experts", default="")
    default = top.flag("default", default=False)
    top.raw("draft")
    stack_file.check_secrets(top)
    top.done()
    for role in roles:
        _check_arguments(top, name, release, role.args, f"$.roles.{role.name}.args")
    if draft and the_model and draft.name == the_model.name:
        top.problem("$.draft", draft.name, "another model than slipway:model", why="a draft is smaller than its target")
    if the_model:
        for where, tensor in _tensors(parallelism, roles):
            _check_heads(top, the_model, tensor, where)
    if fleet:
        top.problems.extend(placement.problems(parallelism, launcher, fleet, roles))
    what = f"the stack file {place} can't be used:"
    top.raise_problems(what)
    assert fleet is not None
    assert the_model is not None
    assert software is not None
    d = Deployment(
        stack=stack,
        fleet=fleet,
        model=the_model,
        engine=name,
        release=release,
        args=args,
        env=env,
        config=config,
        launcher=launcher,
        parallelism=parallelism,
        roles=roles,
        router=router,
        environment=software.name,
        software=software,
        image=image,
        draft=draft,
        experts=experts,
        port=port,
        default=default,
        unnamed=ENGINES[name].unnamed(the_model.name),
    )
    top.problems.extend(not_locked(software) if not image else placeholder(image))
    top.problems.extend(stack_file.unused(asked, launcher.name, LAUNCHERS[launcher.name].options))
    top.problems.extend(_together(d))
    top.raise_problems(what)
    top.problems.extend(prove(d).problems)
    top.raise_problems(what)
    return replace(d, warnings=tuple(top.problems))


def _software(top: Reader, image: str, envs: Path) -> environments.Environment | None:
    """The engine's environment; none is needed where it comes in an image."""
    if not top.has("image"):
        return _named(top, "environment", lambda name: environments.load(name, envs))
    if top.raw("environment") is not None:
        top.problem("$.environment", "one beside slipway:image", "one of them", why="the engine is in the image")
    return environments.IN_IMAGE if image else None


def _engine(top: Reader) -> tuple[str, str, dict[str, Argument], dict[str, str], dict[str, Argument]]:
    """(name, release, arguments, variables, YAML), the arguments held against the table of that release."""
    reader = top.child("engine")
    name = reader.choice("name", tuple(ENGINES))
    release = stack_file.quoted(reader, "release", stack_file.RELEASE)
    args = dict(stack_file.arguments(reader, "args"))
    env = dict(stack_file.env(reader, "env"))
    config = dict(stack_file.arguments(reader, "config"))
    reader.done()
    if release and reader.data.get("name") == name:
        known = ENGINES[name].releases()
        if release in known:
            _check_arguments(top, name, release, args, "$.engine.args")
        else:
            wanted = f"a release of {name} with a table in infra/engines/flags/ ({', '.join(known)})"
            top.problem("$.engine.release", repr(release), wanted, why="its options could not be checked")
    return name, release, args, env, config


def _check_arguments(top: Reader, engine: str, release: str, args: Mapping[str, Argument], place: str) -> None:
    if release not in ENGINES[engine].releases():
        return
    told = {problem.where for problem in top.problems}
    for problem in ENGINES[engine].argument_problems(release, args):
        where = problem.where.replace("$.engine.args", place, 1)
        if where not in told:  # a value that could not be read is no value
            top.problems.append(replace(problem, where=where))


def _tensors(parallelism: Parallelism, roles: Sequence[Role]) -> Iterator[tuple[str, int]]:
    """(place, tensor ranks) of each parallelism."""
    yield "$.parallelism.tensor", parallelism.tensor
    for role in roles:
        yield f"$.roles.{role.name}.parallelism.tensor", role.parallelism.tensor


def _check_heads(top: Reader, the_model: model.Model, tensor: int, where: str) -> None:
    heads = the_model.architecture.heads
    if heads % tensor:
        fits = ", ".join(str(n) for n in range(1, heads + 1) if heads % n == 0)
        wanted = f"a divisor of {heads}, the attention heads of {the_model.name} ({fits})"
        top.problem(where, str(tensor), wanted, why="each GPU takes whole heads")


def _named(top: Reader, key: str, load_it: Callable[[str], T]) -> T | None:
    """What a file elsewhere says, or None and the problems of that file."""
    name = top.word(key)
    if not name:
        return None
    try:
        return load_it(name)
    except InputError as error:
        for problem in error.problems:
            itself = problem.where in (f"$.{key}", "$.model")  # a draft is a model as well
            where = f"$.{key}" if itself else f"$.{key} ({name}: {problem.where})"
            top.problems.append(replace(problem, where=where))
        return None


def _together(d: Deployment) -> Iterator[Problem]:
    """What a whole deployment is held against: its engine's and its launcher's rules."""
    engine, launcher = ENGINES[d.engine], LAUNCHERS[d.launcher.name]
    nodes = placement.place(d).nodes
    need = placement.rendezvous(d.launcher.name, nodes)
    if need not in engine.rendezvous & launcher.offers:
        fitting = [
            name for name, it in LAUNCHERS.items() if placement.rendezvous(name, nodes) in it.offers & engine.rendezvous
        ]
        yield Problem(
            where="$.launcher.name",
            rule="launcher",
            found=f"{launcher.name} with {engine.name} over {nodes} node{'s' if nodes > 1 else ''}",
            wanted=f"a launcher that brings the engine's ranks together ({', '.join(fitting) or 'none does'})",
            why=_MEETING[need] if need in launcher.offers else f"{launcher.name} starts one node's ranks alone",
        )
    yield from engine.problems(d)
    yield from launcher.problems(d)


def placeholder(image: str) -> Iterator[Problem]:
    """A warning where an image's digest is made up: it can be previewed, and no node can pull it."""
    if not image.partition("@sha256:")[2].strip("0"):
        yield Problem(
            level="warning",
            rule="image",
            where="$.image",
            found="a digest of zeros",
            wanted="the digest of an image that the nodes can pull",
            why="it can be previewed, not brought up",
            fix="put in what `podman image inspect --format '{{.Digest}}' IMAGE` says",
        )


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
