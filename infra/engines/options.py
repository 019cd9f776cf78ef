"""What engines share: options rendered by their release's table, and the release held against the environment."""

from collections.abc import Iterator, Mapping

from hosts.problem import Problem
from infra.deployment import Argument, Deployment, Parallelism
from infra.flags.table import FlagTable, render


def rendered(table: FlagTable, args: Mapping[str, Argument]) -> Iterator[str]:
    """The words of all options, in the order of the stack file; what the table lacks was refused before."""
    for name, value in args.items():
        yield from render(table.flags[f"--{name}"], name, value)


def parallelisms(d: Deployment) -> Iterator[tuple[str, Parallelism]]:
    """(place, parallelism) of each role, or of the deployment where it has none."""
    for part in d.parts:
        yield (f"$.roles.{part.role}.parallelism" if part.role else "$.parallelism"), part.parallelism


def software_problems(d: Deployment, package: str) -> Iterator[Problem]:
    """The environment must hold the release; what is in an image is known to nobody before it is pulled."""
    source = f"infra/environments/{d.software.name}/requirements.txt"
    if d.image or not d.software.requirements:
        return
    found = [line.split(" ")[2] for line in d.software.packages if line.startswith(f"pip {package} ")]
    release = found[0].partition("+")[0] if found else ""
    if not found:
        yield Problem(
            where="$.environment",
            rule="environment",
            found=f"{d.software.name}, which holds no {package}",
            wanted=f"an environment with {package} {d.release}",
            source=source,
        )
    elif release != d.release:
        yield Problem(
            where="$.engine.release",
            rule="environment",
            found=d.release,
            wanted=f"{found[0]}, which the environment {d.software.name} holds",
            fix=f"set the release to {release}, or name another environment",
            source=source,
        )


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
