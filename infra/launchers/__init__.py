"""The launchers; `LAUNCHERS` is how a stack file names one."""

from infra.launchers.kubernetes import Kubernetes
from infra.launchers.mpirun import Mpirun
from infra.launchers.ray import Ray
from infra.launchers.slurm import Slurm
from infra.launchers.systemd import Systemd
from infra.protocols import Launcher

LAUNCHERS: dict[str, Launcher] = {
    launcher.name: launcher for launcher in (Slurm(), Systemd(), Mpirun(), Ray(), Kubernetes())
}

__all__ = ["LAUNCHERS", "Launcher"]
