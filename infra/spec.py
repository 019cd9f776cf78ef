"""A stack file becomes a `Deployment`, or every problem that it has; both front ends read it here."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from hosts import fleet as fleets
from hosts.errors import InputError
from hosts.problem import Problem
from hosts.schema import Reader, load_yaml, nearest
from infra import endpoint_file, environments, launcher_file, model, placement, stack_file
from infra.deployment import Argument, Deployment, LauncherConfig, Parallelism, Role
from infra.engines import ENGINES
from infra.launchers import LAUNCHERS
from infra.proven import proven
from infra.reading import Reading
from infra.worded import RELEASE, quoted, worded

__all__ = [
    "STACKS",
    "Argument",
    "Deployment",
    "LauncherConfig",
    "Parallelism",
    "examine",
    "load",
    "parse",
    "read",
    "stacks",
]

STACKS = Path(__file__).parent.parent / "stacks"
T = TypeVar("T")


def stacks(folder: Path = STACKS) -> tuple[str, ...]:
    """The stacks that have a file."""
    return tuple(sorted(path.stem.removeprefix("Pulumi.") for path in folder.glob("Pulumi.*.yaml")))


def load(stack: str, folder: Path = STACKS) -> Deployment:
    """The deployment of a stack. Raises InputError with every problem of its file."""
    return _right(read(stack, folder), str(_file(stack, folder)))


def read(stack: str, folder: Path = STACKS) -> Reading:
    """A stack as far as it can be read, errors and all. Raises InputError where its file is no stack's."""
    path = _file(stack, folder)
    return examine(stack, load_yaml(path), str(path))


def _file(stack: str, folder: Path) -> Path:
    if stack not in stacks(folder):
        near = nearest(stack, stacks(folder))
        problem = Problem(
            where="$",
            found=f"the stack {stack!r}",
            wanted=f"a stack with a file in {folder.name}/ ({', '.join(stacks(folder)) or 'none'})",
            fix=f"did you mean {near}?" if near else None,
        )
        raise InputError([problem])
    return folder / f"Pulumi.{stack}.yaml"


def _right(it: Reading, place: str) -> Deployment:
    """The deployment of one that has no errors."""
    if it.errors:
        raise InputError(it.problems, f"the stack file {place} can't be used:")
    return replace(it.deployment, warnings=it.problems)


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
    return _right(examine(stack, data, place, inventory=inventory, models=models, envs=envs), place)


def examine(
    stack: str,
    data: object,
    place: str,
    *,
    inventory: Path = fleets.INVENTORY,
    models: Path = model.MODELS,
    envs: Path = environments.FOLDER,
) -> Reading:
    """What parsed YAML says, with what is wrong with it. Raises InputError where it is no deployment."""
    file = Reader(data, place)
    top = Reader(stack_file.own_keys(file), place, problems=file.problems)
    if not fleets.NAME.fullmatch(stack):
        top.problem(
            "$", f"the stack {stack!r}", "a name of small letters, digits and -", why="it becomes the job's name"
        )
    fleet = _named(top, "fleet", lambda name: fleets.load(name, inventory))
    the_model = _named(top, "model", lambda name: model.load(name, models))
    draft = _named(top, "draft", lambda name: model.load(name, models)) if top.has("draft") else None
    chosen = _chosen(top, envs)
    image = chosen.image if chosen else ""
    software = environments.IN_IMAGE if image else chosen
    refused: list[Problem] = []
    name, release, args, env, config = _engine(top, refused)
    asked = top.child("launcher")
    launcher = launcher_file.launcher(asked, fleet, tuple(LAUNCHERS))
    roles = stack_file.roles(top, ENGINES[name].roles, name)
    parallelism = stack_file.parallelism(top) if not roles else Parallelism()
    router = stack_file.router(top)
    port = stack_file.port(top)
    endpoint = endpoint_file.endpoint(top)
    experts = worded(top, "experts", stack_file.EXPERTS)
    default = top.flag("default", default=False)
    top.raw("draft")
    stack_file.check_secrets(top)
    top.done()
    for role in roles:
        refused += _argument_problems(top, name, release, role.args, f"$.roles.{role.name}.args")
    if draft and the_model and draft.name == the_model.name:
        top.problem("$.draft", draft.name, "another model than slipway:model", why="a draft is smaller than its target")
    if the_model:
        for where, tensor in _tensors(parallelism, roles):
            refused += _head_problems(the_model, tensor, where)
    misplaced = tuple(placement.problems(parallelism, launcher, fleet, roles)) if fleet else ()
    if any(problem.level == "error" for problem in top.problems):
        raise InputError((*top.problems, *refused, *misplaced), f"the stack file {place} can't be used:")
    assert fleet is not None
    assert the_model is not None
    assert chosen is not None
    assert software is not None
    d = Deployment(
        stack=stack,
        fleet=fleet,
        model=the_model,
        engine=name,
        release=release,
        args=_taken(args, refused, "$.engine.args"),
        env=env,
        config=config,
        launcher=launcher,
        parallelism=parallelism,
        roles=tuple(replace(it, args=_taken(it.args, refused, f"$.roles.{it.name}.args")) for it in roles),
        router=router,
        environment=chosen.name,
        software=software,
        image=image,
        draft=draft,
        experts=experts,
        port=port,
        endpoint=endpoint,
        guards=ENGINES[name].guards,
        default=default,
        unnamed=ENGINES[name].unnamed(the_model.name),
    )
    found = [*top.problems, *refused, *misplaced]
    if misplaced:
        return Reading(deployment=d, problems=tuple(found), placed=False, rendered=False, staged=False, proven=False)
    d = replace(d, endpoint=endpoint_file.bound(d, found))
    found += (*not_locked(chosen), *not_indexed(chosen, fleet)) if chosen.name else placeholder(image)
    found += launcher_file.unused(asked, launcher.name, LAUNCHERS[launcher.name].options)
    places = {"$.engine.args": args} | {f"$.roles.{it.name}.args": it.args for it in roles}
    left_out = tuple(name for at, given in places.items() for name in given if name not in _taken(given, refused, at))
    return proven(d, found, left_out=left_out)


def _taken(args: Mapping[str, Argument], refused: Sequence[Problem], place: str) -> dict[str, Argument]:
    """The options that nothing is wrong with."""
    wrong = [problem.where for problem in refused if problem.level == "error"]
    return {
        name: value
        for name, value in args.items()
        if not any(re.match(rf"{re.escape(f'{place}.{name}')}($|[.\[])", where) for where in wrong)
    }


def _chosen(top: Reader, envs: Path) -> environments.Environment | None:
    """The engine's environment, which may be an image; without a name where the file names an image itself."""
    image = stack_file.image(top)
    if not top.has("image"):
        return _named(top, "environment", lambda name: environments.load(name, envs))
    if top.raw("environment") is not None:
        top.problem("$.environment", "one beside slipway:image", "one of them", why="the engine is in the image")
    return replace(environments.IN_IMAGE, image=image) if image else None


def _engine(
    top: Reader, refused: list[Problem]
) -> tuple[str, str, dict[str, Argument], dict[str, str], dict[str, Argument]]:
    """(name, release, arguments, variables, YAML), the arguments held against the table of that release."""
    reader = top.child("engine")
    name = reader.choice("name", tuple(ENGINES))
    right = reader.data.get("name") == name
    known = tuple(it for it in ENGINES[name].releases() if re.fullmatch(RELEASE.pattern, it))
    wanted = f"a release of {name} with a table in infra/engines/flags/ ({', '.join(known)})"
    kind = replace(RELEASE, wanted=wanted) if right else RELEASE
    release = quoted(reader, "release", kind)
    args = dict(stack_file.arguments(reader, "args"))
    env = dict(stack_file.env(reader, "env"))
    config = dict(stack_file.arguments(reader, "config"))
    reader.done()
    if release and right and release not in known:
        near = nearest(release, known)
        fix = near and f"did you mean {near}?"
        top.problem("$.engine.release", repr(release), wanted, why="its options could not be checked", fix=fix)
    elif release and right:
        refused += _argument_problems(top, name, release, args, "$.engine.args")
    return name, release, args, env, config


def _argument_problems(
    top: Reader, engine: str, release: str, args: Mapping[str, Argument], place: str
) -> Iterator[Problem]:
    """What the release does not take."""
    if release not in ENGINES[engine].releases():
        return
    told = {problem.where for problem in top.problems}
    for problem in ENGINES[engine].argument_problems(release, args):
        where = problem.where.replace("$.engine.args", place, 1)
        if where not in told:  # a value that could not be read is no value
            yield replace(problem, where=where)


def _tensors(parallelism: Parallelism, roles: Sequence[Role]) -> Iterator[tuple[str, int]]:
    """(place, tensor ranks) of each parallelism."""
    yield "$.parallelism.tensor", parallelism.tensor
    for role in roles:
        yield f"$.roles.{role.name}.parallelism.tensor", role.parallelism.tensor


def _head_problems(the_model: model.Model, tensor: int, where: str) -> Iterator[Problem]:
    heads = the_model.architecture.heads
    if heads % tensor:
        fits = ", ".join(str(n) for n in range(1, heads + 1) if heads % n == 0)
        wanted = f"a divisor of {heads}, the attention heads of {the_model.name} ({fits})"
        yield Problem(where=where, found=str(tensor), wanted=wanted, why="each GPU takes whole heads")


def _named(top: Reader, key: str, load_it: Callable[[str], T]) -> T | None:
    """What a file elsewhere says, or None and the problems of that file."""
    absent = top.raw(key) is None
    name = "" if absent else top.text(key)
    if not absent and not isinstance(top.raw(key), str):
        return None
    try:
        return load_it(name)
    except InputError as error:
        for problem in error.problems:
            if absent:
                fix = f"write {stack_file.PREFIX}{key}: NAME"
                top.problems.append(replace(problem, where=f"$.{key}", found="nothing", fix=fix))
                continue
            itself = problem.where in (f"$.{key}", "$.model")  # a draft is a model as well
            where = f"$.{key}" if itself else f"$.{key} ({name}: {problem.where})"
            top.problems.append(replace(problem, where=where))
        return None


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
        yield Problem(
            level="warning",
            rule="environment",
            where="$.environment",
            found=f"{software.name}, which has no {software.missing}",
            wanted="a locked environment",
            why="it can be previewed, not brought up",
            fix=software.next_step,
        )


def not_indexed(software: environments.Environment, fleet: fleets.Fleet) -> Iterator[Problem]:
    """A warning where pip would look in vain: no public index has versions with a local label, as `0.19.1+cpu`."""
    rare = [package.removeprefix("pip ").replace(" ", "==") for package in software.packages if "+" in package]
    if rare and not fleet.wheels:
        yield Problem(
            level="warning",
            rule="environment",
            where="$.environment",
            found=f"{', '.join(rare)}, and no `wheels` in hosts/inventory/{fleet.name}.yaml",
            wanted="a folder with its wheel, on the host that installs the environment",
            why="no public package index has a version with +",
            fix="set `wheels: /FOLDER` there, unless pip on that host is set up for an index of yours that has it",
        )
