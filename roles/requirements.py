"""What must hold before anything is written: supported machines, no cluster but ours, sound GPUs, the right to submit.

Each check is a template of `templates/checks`: shell that changes nothing and prints `ok` or one line of what it found.
"""

from collections.abc import Sequence

from hosts.fleet import Fleet, Gpus, Host
from hosts.resources.files import owned_marker
from hosts.resources.system import Requirement
from roles import render

SUPPORTED_OS = ("debian 12", "ubuntu 22.04", "ubuntu 24.04")
"""ID and VERSION_ID of /etc/os-release; DGX OS 6 and 7 are Ubuntu 22.04 and 24.04 there."""

MIN_SLURM, MIN_SLURM_CGROUP_V2 = "21.08", "22.05"
"""Since 21.08 a mismatched node recovers by registering right; 22.05 has cgroup v2, which Ubuntu 22.04 boots with."""

MIN_DRIVER = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
"""By CUDA's major release, for Linux on x86_64: from here on every minor release runs (minor version compatibility).
Source: CUDA 12.8 and 13.0 release notes, "CUDA Toolkit and Minimum Required Driver Version". A toolkit's own driver
(570.26 for 12.8) is only needed to compile PTX at run time; engines ship and make machine code for the GPU at hand."""

SICK_XIDS = (48, 63, 64, 74, 79, 92, 94, 95, 119, 120, 140, 143)
"""Kernel messages of a GPU that needs a reset or a technician: ECC, row remapping, NVLink, off the bus, GSP firmware.
Not 13, 31, 43, 45: those are a program's own faults. Source: NVIDIA's Xid catalogue."""

CONF, MUNGE_KEY = "/etc/slurm/slurm.conf", "/etc/munge/munge.key"


def machine(host: Host, fleet: Fleet) -> tuple[Requirement, ...]:
    """Of a host that is ours to set up, SLURM included where the fleet says `ours`."""
    place = f"hosts/inventory/{fleet.name}.yaml"
    required = [
        _require("root", "root", f"give {host.user} sudo without a password, or log in as root ({place})"),
        _require("os", "Debian 12, Ubuntu 22.04 or 24.04 (DGX OS 6, 7)", "install one of them", supported=SUPPORTED_OS),
    ]
    if fleet.slurm == "ours":
        existing = f"set `slurm: existing` in {place} to use that cluster as it is, or take the host off it first"
        required += [
            _require(
                "hostname",
                host.name,
                f"name the host in {place} as it calls itself, or run: hostnamectl set-hostname {host.name}",
                name=host.name,
            ),
            _require("cluster", "no SLURM but ours", existing, conf=CONF, marker=owned_marker(CONF)),
            _require("munge-key", "no munge key but ours", existing, key=MUNGE_KEY, marker=owned_marker(MUNGE_KEY)),
            _require(
                "slurm-packages",
                f"SLURM {MIN_SLURM} or newer from apt ({MIN_SLURM_CGROUP_V2} with cgroup v2)",
                f"add an apt source that has it, or set `slurm: existing` in {place}",
                package="slurmctld" if host.role == "login" else "slurmd",
                version=MIN_SLURM,
                version_cgroup_v2=MIN_SLURM_CGROUP_V2,
            ),
        ]
    if host.cpus or host.memory_mib:
        required.append(
            _require(
                "size",
                f"at least {host.cpus} CPUs and {host.memory_mib} MiB",
                f"correct cpus and memory_mib of {host.name} in {place}",
                cpus=host.cpus,
                memory_mib=host.memory_mib,
            )
        )
    if host.interface:
        required.append(
            _require(
                "interface",
                f"the interface {host.interface}, up",
                f"correct interface of {host.name} in {place} (ip -br link), or bring it up",
                name=host.interface,
            )
        )
    if host.gpus:
        required.append(
            _require(
                "gpu-devices",
                f"{host.gpus.count} devices {host.gpus.device}N",
                f"load the driver, or correct gpus of {host.name} in {place}",
                paths=[f"{host.gpus.device}{n}" for n in range(host.gpus.count)],
            )
        )
    return tuple(required)


def gpus(host: Host, *, cuda: str = "") -> tuple[Requirement, ...]:
    """Of the GPUs of a real machine; none for a host without. `cuda` is the release that the engine was built with."""
    if host.gpus is None:
        return ()
    major = int(cuda.partition(".")[0]) if cuda else min(MIN_DRIVER)
    driver = MIN_DRIVER.get(major, MIN_DRIVER[max(MIN_DRIVER)])
    reset = "drain the node, then `nvidia-smi --gpu-reset` or a reboot; if it comes back, NVIDIA support"
    return (
        _require(
            "driver",
            f"NVIDIA driver {driver} or newer" + (f" (for CUDA {cuda})" if cuda else ""),
            "install a newer driver, or use an environment with an older CUDA",
            version=driver,
        ),
        _require(
            "gpus",
            _named(host.gpus),
            f"see `nvidia-smi` and `dmesg | grep NVRM` on {host.name}, or correct its gpus in the fleet file",
            count=host.gpus.count,
            model=host.gpus.model,
            memory_mib=host.gpus.memory_mib,
        ),
        _require("gpus-idle", "no processes on the GPUs but SLURM's and ours", "end them, or wait until they are done"),
        _require("ecc", "ECC on, no uncorrected errors, no row to be remapped", reset),
        _require("xid", "no Xid of a sick GPU in the kernel's log since boot", reset, xids=SICK_XIDS),
        _require("mig", "MIG off", "drain the node, then: nvidia-smi -mig 0"),
        _require(
            "fabric-manager",
            "nvidia-fabricmanager running, all GPUs in the fabric",
            "systemctl enable --now nvidia-fabricmanager (the same version as the driver)",
        ),
        *_hcas(host),
    )


def _hcas(host: Host) -> tuple[Requirement, ...]:
    """Of the adapters of the compute rails: NCCL leaves out one that is down and says nothing."""
    if not host.hcas:
        return ()
    return (
        _require(
            "hcas",
            f"{', '.join(host.hcas)} active on port 1, of one link layer",
            f"see `ibstat` and the cables of {host.name}, or correct its hcas in the fleet file",
            names=host.hcas,
        ),
    )


def disk(fleet: Fleet, *, free_gib: int = 0, counted: tuple[str, ...] = ()) -> tuple[Requirement, ...]:
    """Of the storage folder: there, ours, writable, with `free_gib` free. What lies in `counted` counts as free.

    Ours is a folder of root's or of the account that we work as, on a path that no other user could redirect: what lies
    there is run, with the API key beside it.
    """
    path = fleet.storage.path
    return (
        _require(
            "storage",
            f"a writable folder {path} that no other user can replace" + (f", {free_gib} GiB free" if free_gib else ""),
            "mount it, change its owner or mode, free some space, or correct storage.path in the fleet file",
            path=path,
            free_kib=free_gib << 20,
            counted=counted,
        ),
    )


def site(
    *,
    partition: str,
    nodes: int = 1,
    gpus_per_node: int = 0,
    memory_mib: int = 0,
    cpus: int = 0,
    account: str = "",
    qos: str = "",
    time: str = "",
    constraint: str = "",
    nodelist: Sequence[str] = (),
    by_tasks: bool = False,
    image: bool = False,
) -> tuple[Requirement, ...]:
    """Of a SLURM that is somebody else's, asked on its login host: the partition, its GPUs, and the right to submit.

    `memory_mib` and `cpus` are those of a node, 0 for whatever it has; they are compared with what SLURM has for its
    nodes, which may be less than what the machines report. Where SLURM starts the ranks of an MPI job itself
    (`by_tasks`), it must have PMIx, and Pyxis where they come in an `image`; whether enroot hands PMIx on into its
    containers only a job sees.
    """
    options = {
        "partition": partition,
        "account": account,
        "qos": qos,
        "time": time,
        "constraint": constraint,
        "nodelist": ",".join(nodelist),
        "nodes": str(nodes),
        "gpus-per-node": str(gpus_per_node or ""),
        "mem": f"{memory_mib}M" if memory_mib else "",
        "cpus-per-task": str(cpus or ""),
    }
    words = [f"--{name}={value}" for name, value in options.items() if value]
    return (
        _require(
            "partition",
            f"the partition {partition}, up",
            "ask `sinfo` for the partitions, and set launcher.partition in the stack file",
            partition=partition,
        ),
        _require(
            "partition-gpus",
            f"{nodes} nodes with {_each(gpus_per_node, memory_mib, cpus)} each in {partition}, not down or drained",
            "see `sinfo -N -o '%n %G %m %c %T %E'`; ask the site's staff, or change launcher.partition, mem, cpus or "
            "parallelism",
            partition=partition,
            nodes=nodes,
            gpus=gpus_per_node,
            memory_mib=memory_mib,
            cpus=cpus,
        ),
        _require(
            "submit",
            "a job of this size is accepted",
            "set launcher.account, qos, partition, time, constraint, nodelist, mem or cpus in the stack file to what "
            "the site gives you",
            words=words,
        ),
        *(_ranks(image=image) if by_tasks else ()),
    )


def _ranks(*, image: bool) -> tuple[Requirement, ...]:
    """What srun needs to start the ranks of an MPI job."""
    pmix = _require(
        "pmix",
        "a SLURM with PMIx (`srun --mpi=list`)",
        "ask the site's staff for SLURM's plugin mpi/pmix, or use the launcher mpirun",
    )
    pyxis = _require(
        "pyxis",
        "a SLURM with Pyxis (`srun --container-image`)",
        "ask the site's staff for enroot and Pyxis, or use slipway:environment instead of slipway:image",
    )
    return (pmix, pyxis) if image else (pmix,)


def _each(gpus: int, memory_mib: int, cpus: int) -> str:
    """What a job takes of a node, in words."""
    parts = (f"{gpus} GPUs", f"{memory_mib} MiB" if memory_mib else "", f"{cpus} CPUs" if cpus else "")
    return ", ".join(filter(None, parts))


def _named(gpus: Gpus) -> str:
    return f"{gpus.count} x {gpus.model} of {gpus.memory_mib} MiB"


def _require(check: str, wanted: str, fix: str, /, **context: object) -> Requirement:
    return Requirement(name=check, check=render(f"checks/{check}.sh.j2", **context), wanted=wanted, fix=fix)
