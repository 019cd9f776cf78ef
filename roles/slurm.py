"""SLURM on a host: the same three files everywhere, the controller on the login host, a node daemon on the nodes."""

import hashlib
import re
from collections.abc import Mapping

from hosts.fleet import Fleet, Gpus, Host
from hosts.resources.files import Directory, File
from hosts.resources.system import Package, Requirement, Unit
from hosts.state import Resource, fingerprint
from roles import render

CONF = "/etc/slurm"
COMPLETIONS = "/var/log/slurm/completions.log"
"""On the controller: one line a job that ended (JobCompType=jobcomp/filetxt)."""
CONTROLLER_TIMEOUT_S = 60
REGISTER_TIMEOUT_S = 45


def slurm(host: Host, fleet: Fleet) -> tuple[Resource, ...]:
    """The packages, files, folders and the daemon of one host of a cluster of ours; munge runs already."""
    controller = host.role == "login"
    files = conf_files(fleet)
    daemon = "slurmctld" if controller else "slurmd"
    # it goes with its cluster: another one's controller refuses to start on it
    state = Directory(path="/var/lib/slurm/slurmctld", mode="0700", owner="slurm", group="slurm", purge=True)
    return (
        *((_jobs_survive(fleet),) if controller else ()),
        Package(names=("slurm-client", daemon)),
        Directory(path=CONF),
        *(File(path=path, content=text, guard=True) for path, text in files.items()),
        Directory(path="/var/log/slurm", owner="slurm", group="slurm"),
        *((state,) if controller else ()),
        Unit(
            name=f"{daemon}.service",
            fingerprint=fingerprint(*files.values()),
            reads=tuple(f"{hashlib.sha256(text.encode()).hexdigest()}  {path}" for path, text in files.items()),
            before="" if controller else _await_controller(fleet),
            after=_await_answer() if controller else _await_registration(host, fleet),
        ),
    )


def conf_files(fleet: Fleet) -> dict[str, str]:
    """The content of each file below /etc/slurm, by path."""
    memory_per_cpu_mib = min(host.memory_mib // host.cpus for host in fleet.nodes)
    context: Mapping[str, object] = {
        "fleet": fleet.name,
        "controller": fleet.login,
        "completions": COMPLETIONS,
        "partition": fleet.partition,
        "nodes": _nodes(fleet),
        "memory_per_cpu_mib": memory_per_cpu_mib,
        "stand_in": fleet.stand_in,
    }
    return {f"{CONF}/{name}": render(f"{name}.j2", **context) for name in ("slurm.conf", "gres.conf", "cgroup.conf")}


def gpu_type(model: str) -> str:
    """A GPU's name as a GRES type: `NVIDIA H200` is `h200`."""
    return re.sub(r"[^a-z0-9]+", "_", model.lower().removeprefix("nvidia")).strip("_") or "gpu"


def _jobs_survive(fleet: Fleet) -> Requirement:
    return Requirement(
        name="gres-change",
        check=render("checks/gres-change.sh.j2", nodes=_nodes(fleet)),
        wanted="no jobs on a node whose GPUs change",
        fix="drain the node and wait until it is idle: SLURM kills the jobs of a node whose GPUs change",
    )


def _nodes(fleet: Fleet) -> list[dict[str, str | int]]:
    return [_node(host, host.gpus) for host in fleet.nodes if host.gpus]


def _node(host: Host, gpus: Gpus) -> dict[str, str | int]:
    topology = ""
    if host.sockets:
        cores = host.cpus // host.sockets // host.threads_per_core
        topology = f" Sockets={host.sockets} CoresPerSocket={cores} ThreadsPerCore={host.threads_per_core}"
    kind = gpu_type(gpus.model)
    return {
        "name": host.name,
        "address": host.address,
        "cpus": host.cpus,
        "topology": topology,
        "memory_mib": host.memory_mib,
        "gres": f"gpu:{kind}:{gpus.count}",
        "gpu_type": kind,
        "gpu_files": gpus.device + ("0" if gpus.count == 1 else f"[0-{gpus.count - 1}]"),
    }


def _await_answer() -> str:
    """Shell that waits until the controller that was just started answers."""
    return render("await-slurmctld.sh.j2", timeout_s=CONTROLLER_TIMEOUT_S)


def _await_controller(fleet: Fleet) -> str:
    """Shell that waits, while slurmd is stopped, for the controller to have the slurm.conf that lies here.

    A node that registers by another file than the controller's is set INVAL or drained for a mismatch that is none:
    slurmd starts after slurmctld, whichever host is done first. That the controller does not come fails on its host.
    """
    return render("await-same-conf.sh.j2", timeout_s=CONTROLLER_TIMEOUT_S, controller=fleet.login.name)


def _await_registration(host: Host, fleet: Fleet) -> str:
    """Shell that waits until the controller has the node in service, or in the state that a person put it in."""
    return render("await-node.sh.j2", timeout_s=REGISTER_TIMEOUT_S, node=host.name, controller=fleet.login.name)
