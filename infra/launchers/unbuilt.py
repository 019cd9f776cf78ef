"""What a launcher that plans and can't start anything yet says, and how it is refused before anything is written."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from hosts.problem import Problem
from hosts.resources.system import Requirement
from hosts.state import Stage
from infra.deployment import Deployment
from infra.placement import Placement
from infra.protocols import Engine


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


class Unbuilt:
    """What such launchers share: `launch` never begins, and the claim before it is refused for the same reason."""

    name: ClassVar[str]
    built: ClassVar[bool] = False

    def stages(
        self,
        d: Deployment,
        place: Placement,  # noqa: ARG002
        engine: Engine,  # noqa: ARG002
        *,
        digests: Mapping[str, str],  # noqa: ARG002
    ) -> tuple[Stage, ...]:
        """One that never begins."""
        return (Stage(name="launch", hosts={d.fleet.login.name: (requirement(d.launcher.name),)}),)
