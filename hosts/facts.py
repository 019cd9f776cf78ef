"""What a machine is, read from what its own tools print: processors, memory, GPUs, network, storage, rights.

`script` holds the questions, `read` and `facts` the answer; nothing here talks to a machine. Sources: lscpu(1),
proc_meminfo(5), nvidia-smi --help-query-gpu, the kernel's Documentation/ABI/stable/sysfs-class-infiniband.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hosts.shell import Frame, parse_frames, probe_script, quote
from hosts.text import printable

STAND_IN = "/dev/slipway-gpu"
"""Device files of the lab's machines that stand where GPUs would be."""

GPU_QUERY = "index,name,memory.total,driver_version,mig.mode.current,ecc.mode.current,pci.bus_id"
RAIL_GBPS = 200
"""What the rails of GPU machines have at least, since HDR; slower RDMA devices are management's or storage's."""
_NETWORK_FILESYSTEMS = ("nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "wekafs", "cifs", "glusterfs", "panfs", "9p")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as nvidia-smi prints it; `mig` and `ecc` are Enabled, Disabled or [N/A]."""

    index: int
    name: str
    memory_mib: int
    driver: str
    mig: str
    ecc: str
    bus: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hca:
    """One port of an InfiniBand or RoCE adapter; `by_gpu`: a PCI switch below it is also above a GPU."""

    name: str
    port: int
    state: str
    rate: str
    link: str
    by_gpu: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """One whole disk."""

    name: str
    size_bytes: int
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """The filesystem below a path, or below its nearest parent that exists (`at`)."""

    at: str
    device: str
    kind: str
    size_kib: int
    free_kib: int

    @property
    def network(self) -> bool:
        """Whether the filesystem's type is one that several machines can mount."""
        return self.kind.removeprefix("fuse.") in _NETWORK_FILESYSTEMS


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One machine as found; 0 and "" where its tools do not tell. `cpus` are the threads that this user may run on."""

    hostname: str
    os: str
    kernel: str
    cpus: int
    cpu_model: str
    sockets: int
    threads_per_core: int
    amx: bool
    numa_nodes: int
    memory_mib: int
    gpus: tuple[Gpu, ...]
    gpu_trouble: str
    gpus_on_bus: int
    stand_ins: int
    addresses: Mapping[str, tuple[str, ...]]
    interface: str
    hcas: tuple[Hca, ...]
    storage: Folder | None
    disks: tuple[Disk, ...]
    root: bool
    sudo: str
    """"" where sudo works without a password, else what it said."""


def _probes(storage: str) -> dict[str, str]:
    """Shell by name; each only reads."""
    below = f'p={quote(storage)}; while [ ! -e "$p" ]; do p=$(dirname -- "$p"); done; echo "$p"; df -PTk -- "$p"'
    return {
        "hostname": "uname -n",
        "os": "cat /etc/os-release",
        "kernel": "uname -srm",
        "nproc": "env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc",
        "lscpu": "lscpu",
        "memory": "grep -E '^MemTotal:' /proc/meminfo",
        # a driver that hangs must not hang us; the folders are where drivers of containers and appliances live
        "gpus": "PATH=$PATH:/usr/bin:/usr/local/nvidia/bin; command -v nvidia-smi >/dev/null || exit 127; "
        f"timeout -k 5 60 nvidia-smi --query-gpu={GPU_QUERY} --format=csv,noheader,nounits",
        "bus": 'for d in /sys/bus/pci/devices/*; do read -r vendor <$d/vendor; [ "$vendor" = 0x10de ] && '
        'echo "$(cat $d/class) $(readlink -f $d)"; done 2>/dev/null; true',
        "stand_ins": f"ls -d {STAND_IN}[0-9]* 2>/dev/null; true",
        "addresses": "PATH=$PATH:/usr/sbin:/sbin; ip -o addr show",
        "session": 'echo "$SSH_CONNECTION"',
        "hcas": "for p in /sys/class/infiniband/*/ports/*; do [ -e $p/state ] || continue; d=${p%/ports/*}; "
        'echo "${d##*/}|${p##*/}|$(cat $p/state)|$(cat $p/rate)|$(cat $p/link_layer)|$(readlink -f $d/device)"; '
        "done; true",
        "storage": below,
        "disks": "lsblk -bdnP -o NAME,TYPE,SIZE,MODEL",
        "root": "id -u",
        "sudo": "sudo -n true",
    }


def script(storage: str) -> str:
    """The one script that asks a machine everything; `storage` is the path whose filesystem is looked at."""
    return probe_script(list(_probes(storage).values()))


def read(storage: str, sent: str, stdout: str) -> Facts | None:
    """The facts in the output of `sent`, which `script(storage)` made; None where it arrived incomplete."""
    frames, complete = parse_frames(sent, stdout)
    if not complete:
        return None
    said = {name: frames[str(n)] for n, name in enumerate(_probes(storage))}
    # names of hardware go to terminals, fleet files and SLURM's configuration
    return facts({name: replace(frame, out=printable(frame.out, keep="\n\t")) for name, frame in said.items()})


def facts(said: Mapping[str, Frame]) -> Facts:
    """One machine, from what each probe of the script printed."""
    cpu = _pairs(said["lscpu"].out, ":")
    gpus, trouble = parse_gpus(said["gpus"])
    addresses = parse_addresses(said["addresses"].out)
    return Facts(
        hostname=said["hostname"].out.strip().split(".")[0],
        os=_pairs(said["os"].out, "=").get("PRETTY_NAME", "").strip('"'),
        kernel=said["kernel"].out.strip(),
        cpus=_number(said["nproc"].out),
        cpu_model=cpu.get("Model name", ""),
        **_topology(cpu, _number(said["nproc"].out)),
        amx=any(flag.startswith("amx_") for flag in cpu.get("Flags", "").split()),
        numa_nodes=_number(cpu.get("NUMA node(s)", "")),
        memory_mib=_number(said["memory"].out) >> 10,
        gpus=gpus,
        gpu_trouble=trouble,
        gpus_on_bus=sum(line.startswith("0x03") for line in said["bus"].out.split()),
        stand_ins=len(said["stand_ins"].out.split()),
        addresses=addresses,
        interface=_interface(said["session"].out, addresses),
        hcas=tuple(_hcas(said["hcas"].out, _gpu_paths(said["bus"].out))),
        storage=parse_folder(said["storage"].out),
        disks=tuple(parse_disks(said["disks"].out)),
        root=said["root"].out.strip() == "0",
        sudo="" if said["sudo"].status == 0 else _last_line(said["sudo"].out) or f"exit {said['sudo'].status}",
    )


def parse_gpus(said: Frame) -> tuple[tuple[Gpu, ...], str]:
    """The GPUs of a `--query-gpu` CSV, and what nvidia-smi says is wrong; ((), "") where there is no nvidia-smi."""
    if said.status == 127:
        return (), ""
    if said.status in (124, 137):
        return (), "nvidia-smi did not answer within 60 s"
    gpus: list[Gpu] = []
    odd: list[str] = []
    for line in filter(None, map(str.strip, said.out.splitlines())):
        values = [value.strip() for value in line.split(",")]
        if len(values) == 7 and values[0].isdigit() and values[2].isdigit():
            index, name, memory, driver, mig, ecc, bus = values
            gpus.append(
                Gpu(index=int(index), name=name, memory_mib=int(memory), driver=driver, mig=mig, ecc=ecc, bus=bus)
            )
        elif line != "No devices were found":
            odd.append(line)
    if odd:
        return tuple(gpus), f"nvidia-smi says: {' '.join(odd)[:300]}"
    if said.status not in (0, 6):  # 6: no devices were found
        return tuple(gpus), f"nvidia-smi ended with {said.status} and said nothing"
    return tuple(gpus), ""


def parse_addresses(text: str) -> dict[str, tuple[str, ...]]:
    """The addresses of each interface that has any, of `ip -o addr show`."""
    found: dict[str, tuple[str, ...]] = {}
    for name, address in re.findall(r"^\d+:\s+([^\s@]+)(?:@\S+)?\s+inet6?\s+([0-9a-fA-F.:]+)", text, re.MULTILINE):
        found[name] = (*found.get(name, ()), address)
    return found


def parse_folder(text: str) -> Folder | None:
    """The path that exists, then `df -PTk` of it."""
    lines = text.splitlines()
    values = lines[-1].split(None, 6) if len(lines) >= 3 else []
    if len(values) != 7 or not values[2].isdigit() or not values[4].isdigit():
        return None
    return Folder(at=lines[0], device=values[0], kind=values[1], size_kib=int(values[2]), free_kib=int(values[4]))


def parse_disks(text: str) -> Iterator[Disk]:
    """The disks of `lsblk -bdnP`, without loop devices, memory-backed ones and optical drives."""
    for line in text.splitlines():
        values = dict(re.findall(r'([A-Z]+)="([^"]*)"', line))
        if values.get("TYPE") == "disk" and not values.get("NAME", "").startswith(("zram", "ram", "nbd", "fd")):
            yield Disk(
                name=values["NAME"], size_bytes=_number(values.get("SIZE", "")), model=values.get("MODEL", "").strip()
            )


def _topology(cpu: Mapping[str, str], cpus: int) -> dict[str, int]:
    """Sockets and threads per core; 0 for both where they do not divide the CPUs we may use (containers, cpusets)."""
    sockets, threads = _number(cpu.get("Socket(s)", "")), _number(cpu.get("Thread(s) per core", ""))
    if not sockets or not threads or _number(cpu.get("CPU(s)", "")) != cpus or cpus % (sockets * threads):
        sockets = threads = 0
    return {"sockets": sockets, "threads_per_core": threads}


def _interface(session: str, addresses: Mapping[str, tuple[str, ...]]) -> str:
    """The interface that has the address to which this session came (third word of SSH_CONNECTION)."""
    words = session.split()
    here = words[2].split("%")[0] if len(words) == 4 else ""
    return next((name for name, known in addresses.items() if here in known), "")


def rails(facts: Facts) -> tuple[tuple[str, ...], bool]:
    """The HCAs of the compute rails that are up, by number, and whether that is certain.

    A rail's HCA hangs on a GPU's PCI switch, as `nvidia-smi topo -m` says PIX or PXB of. Where none does (virtual
    machines show no switches) the fastest are taken if they are fast enough, and storage may be among them.
    """
    known = any(hca.by_gpu for hca in facts.hcas)
    up = [hca for hca in facts.hcas if hca.state == "ACTIVE" and hca.port == 1 and hca.by_gpu >= known]
    fastest = max((_number(hca.rate) for hca in up), default=0)
    taken = {hca.name for hca in up if known or _number(hca.rate) == fastest >= RAIL_GBPS}
    by_number = sorted(
        taken, key=lambda name: [int(word) if word.isdigit() else 0 for word in re.split(r"(\d+)", name)]
    )
    return tuple(by_number), known


def _gpu_paths(text: str) -> list[str]:
    """Where GPUs are below /sys/devices, of `CLASS PATH` lines of NVIDIA's devices."""
    words = [line.split() for line in text.splitlines()]
    return [line[1] for line in words if len(line) == 2 and line[0].startswith("0x03")]


def _switches(path: str) -> set[str]:
    """The PCI bridges above a device, by path: its root port, below which all is one switch, and what is between."""
    parts = path.split("/")
    roots = [n for n, part in enumerate(parts) if part.startswith("pci")]
    return {"/".join(parts[: n + 1]) for n in range(roots[0] + 1, len(parts) - 1)} if roots else set()


def _hcas(text: str, gpus: Sequence[str]) -> Iterator[Hca]:
    """`NAME|PORT|STATE|RATE|LINK LAYER|PATH` lines."""
    shared = {bridge for path in gpus for bridge in _switches(path)}
    for line in text.splitlines():
        values = line.split("|")
        if len(values) in (5, 6) and values[1].isdigit():
            name, port, state, rate, link, *path = values
            yield Hca(
                name=name,
                port=int(port),
                state=state.partition(":")[2].strip(),
                rate=rate,
                link=link,
                by_gpu=any(_switches(where) & shared for where in path),
            )


def _pairs(text: str, by: str) -> dict[str, str]:
    """`name by value` lines; of a name that stands twice the first."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, mark, value = line.partition(by)
        if mark:
            found.setdefault(name.strip(), value.strip())
    return found


def _number(text: str) -> int:
    """The first whole number in a text, 0 where there is none."""
    found = re.search(r"\d+", text)
    return int(found.group()) if found else 0


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
