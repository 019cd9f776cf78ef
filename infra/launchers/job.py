"""A SLURM job that owns a launcher's processes: the nodes are named, and a supervisor a node keeps what runs there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from hosts.problem import Problem
from hosts.resources.slurm_job import SlurmJob
from hosts.shell import quote
from hosts.state import fingerprint
from infra import artifacts, paths
from infra.deployment import Deployment
from infra.launchers import container
from infra.launchers.process import Process, on_host
from infra.launchers.slurm import endpoint, limit_problems, options, partition_problems, srun_options
from infra.placement import Placement
from roles import render
from roles.slurm import COMPLETIONS

SCRIPT = "job.sbatch"


def problems(d: Deployment) -> Iterator[Problem]:
    """What the queue would refuse or never start."""
    yield from partition_problems(d)
    yield from limit_problems(d)


def files(
    d: Deployment, place: Placement, processes: Sequence[Process], texts: Mapping[str, str], address: str
) -> dict[str, str]:
    """The job's script, and the supervisor of each node."""
    hosts = tuple(dict.fromkeys(process.host for process in processes))
    made = {f"{host}/node.sh": _node(d, host, on_host(processes, host)) for host in hosts}
    return {SCRIPT: _script(d, place, hosts, address, fingerprint(*texts.values())), **made}


def resource(d: Deployment, texts: Mapping[str, str]) -> SlurmJob:
    """The job; another text of any of its files is another job."""
    return SlurmJob(
        stack=d.stack,
        folder=paths.job_folder(d),
        fingerprint=fingerprint(*texts.values()),
        user=paths.service_user(d.fleet),
        completions=COMPLETIONS if d.fleet.slurm == "ours" else "",
    )


def _script(d: Deployment, place: Placement, hosts: Sequence[str], address: str, mark: str) -> str:
    """The sbatch script; `mark` stands in it so that another text of a node's script is another job's script."""
    return render(
        "nodes.sbatch.j2",
        stack=d.stack,
        title=f"{d.stack}: {d.model.name} by {d.engine} {d.release} on {d.fleet.name}",
        options=tuple(options(d, nodes=len(hosts), gpus=place.gpus_per_node, nodelist=hosts)),
        srun_options=" ".join(srun_options(d, len(hosts))),
        folder=paths.job_folder(d),
        served=quote(replace(endpoint(d), address=address).served),
        environment_marker="" if d.image else artifacts.environment(d).marker,
        storage=d.fleet.storage.path,
        mark=mark,
    )


def _node(d: Deployment, host: str, processes: Sequence[Process]) -> str:
    """The supervisor of one node."""
    gpus = d.fleet.host(host).gpus
    assert gpus is not None
    return render(
        "node.sh.j2",
        stack=d.stack,
        host=host,
        folder=paths.job_folder(d),
        new_run_folder=paths.new_run_folder(d),
        names=tuple(process.name for process in processes),
        containers=tuple(container.name(d, process.name) for process in processes if process.is_container),
        device=container.device(d, gpus),
    )
