"""What engines share: options rendered by their release's table, and the release held against the environment."""

from collections.abc import Iterator, Mapping

from hosts.problem import Problem
from infra import environments
from infra.deployment import Argument, Deployment, Parallelism
from infra.environments import Environment
from infra.flags.table import FlagTable, render

PACKAGES = ("vllm", "sglang", "sglang-kt", "tensorrt-llm")
"""The distributions that engines come in; no two of them belong into one environment."""


def rendered(table: FlagTable, args: Mapping[str, Argument]) -> Iterator[str]:
    """The words of all options, in the order of the stack file; what the table lacks was refused before."""
    for name, value in args.items():
        yield from render(table.flags[f"--{name}"], name, value)


def parallelisms(d: Deployment) -> Iterator[tuple[str, Parallelism]]:
    """(place, parallelism) of each role, or of the deployment where it has none."""
    for part in d.parts:
        yield (f"$.roles.{part.role}.parallelism" if part.role else "$.parallelism"), part.parallelism


def software_problems(d: Deployment, package: str) -> Iterator[Problem]:
    """The environment must hold the release, built for GPUs; what an image holds is not known before it is pulled.

    Before anything is pinned, `requirements.in` says it; that an engine is missing there is certain where another one
    stands in its place.
    """
    software, release = d.software, d.release
    if d.image or not software.source:
        return
    versions = software.versions(package)
    others = [f"{other} {' or '.join(found)}".strip() for other, found in _engines(software) if other != package]
    if versions is None and (software.requirements or others):
        instead = f"{others[0]} and no {package}" if others else f"no {package}"
        yield _unfit(d, package, f"{software.name}, which holds {instead}", f"an environment with {package} {release}")
    elif versions and not any(environments.is_of(version, release) for version in versions):
        yield Problem(
            where="$.engine.release",
            rule="environment",
            found=release,
            wanted=f"{versions[0]}, which the environment {software.name} holds",
            fix=f"set the release to {versions[0].partition('+')[0]}, or name {_instead(d, package)}",
            source=software.source,
        )
    elif versions and all(map(environments.is_cpu, versions)) and not d.fleet.stand_in:
        found = f"{software.name}, which holds {package} {versions[0]}"
        yield _unfit(d, package, found, f"a build of {package} {release} for GPUs", why="it computes on CPUs alone")


def _engines(software: Environment) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(package, versions) of each engine in an environment."""
    for package in PACKAGES:
        versions = software.versions(package)
        if versions is not None:
            yield package, versions


def _unfit(d: Deployment, package: str, found: str, wanted: str, *, why: str = "") -> Problem:
    """An environment that another one has to take the place of."""
    return Problem(
        where="$.environment",
        rule="environment",
        found=found,
        wanted=wanted,
        why=why,
        fix=f"name {_instead(d, package)}",
        source=d.software.source,
    )


def _instead(d: Deployment, package: str) -> str:
    """The environments that would do."""
    fitting = environments.holding(package, d.release, cpu=False)
    fitting += environments.holding(package, d.release, cpu=True) if d.fleet.stand_in else ()
    return " or ".join(fitting) or "another environment"


def layer_problems(d: Deployment) -> Iterator[Problem]:
    """A pipeline stage has at least one layer."""
    for where, parallelism in parallelisms(d):
        if parallelism.pipeline > d.model.architecture.layers:
            yield Problem(
                where=f"{where}.pipeline",
                rule="parallelism",
                found=str(parallelism.pipeline),
                wanted=f"at most {d.model.architecture.layers}, the model's layers",
            )


def refused(where: str, found: str, wanted: str, *, why: str = "", fix: str | None = None) -> Problem:
    """Something that an engine's own rules refuse."""
    return Problem(where=where, rule="engine", found=found, wanted=wanted, why=why, fix=fix)
