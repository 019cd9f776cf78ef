"""From a command that was read, and what stands around it, to the subject of the rules."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.flags.check import Checked
from infra.rules.subject import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a document says around one command; None: it says nothing of it."""

    engine: str
    release: str
    place: str
    """The command's own, "line 3"."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Known values of variables that are exported or stand before the command."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """What the document installs: versions by distribution name, "" where none is pinned."""
    files: Mapping[str, object] = field(default_factory=dict)
    """YAML that the document writes, parsed, by the path as it is written there."""
    file_places: Mapping[str, str] = field(default_factory=dict)
    launcher: str | None = None
    """What stands before the command: "srun", "mpirun", "docker"."""
    processes: int | None = None
    """`mpirun -np`, `srun -n`."""
    nodes: int | None = None
    """`srun -N`, `#SBATCH --nodes`, the hosts of `mpirun -H`."""
    gpus_per_node: int | None = None
    """`--gpus-per-node`, `--gres=gpu:8`, the slots of `mpirun -H`."""
    gpu: str | None = None
    """Its name where the document gives it."""
    gpu_memory_gib: float | None = None
    cpu_flags: frozenset[str] | None = None
    cores: int | None = None
    numa_nodes: int | None = None
    host_memory_gib: float | None = None
    ray_started: bool | None = None
    """Whether `ray start` is among the document's commands or words."""


def of_command(checked: Checked, context: Context) -> Subject:
    """The subject that a written command is."""
    raise NotImplementedError
