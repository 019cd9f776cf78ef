"""What a launcher that plans and can't start anything yet says, and how it is refused before anything is written."""

from collections.abc import Iterator

from hosts.problem import Problem
from hosts.resources.system import Requirement
from hosts.state import Stage
from infra.deployment import Deployment


def warning(launcher: str) -> Iterator[Problem]:
    """It can be planned and previewed."""
    yield Problem(
        level="warning",
        rule="launcher",
        where="$.launcher.name",
        found=launcher,
        wanted="a launcher that starts what it plans (slurm)",
        why="it can be planned and previewed, not brought up yet",
    )


def requirement(launcher: str) -> Requirement:
    """A requirement that never holds."""
    return Requirement(
        name="launcher",
        check=f"echo 'the launcher {launcher}, which starts nothing yet'",
        wanted="a launcher that starts what it plans",
        fix="use the launcher slurm, where the engine runs on it; `invoke plan` shows the lines to start it by hand",
    )


def stages(d: Deployment) -> tuple[Stage, ...]:
    """`launch`, which never begins; the claim before it is refused for the same reason."""
    return (Stage(name="launch", hosts={d.fleet.login.name: (requirement(d.launcher.name),)}),)
