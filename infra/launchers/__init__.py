"""The launchers; `LAUNCHERS` is how a stack file names one."""

from infra.launchers.slurm import Slurm
from infra.protocols import Launcher

LAUNCHERS: dict[str, Launcher] = {launcher.name: launcher for launcher in (Slurm(),)}

__all__ = ["LAUNCHERS", "Launcher"]
