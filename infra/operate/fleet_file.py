"""What a fleet file says once machines were read: their facts merged with what people wrote, or why that can't be.

A person's words are kept: top-level settings, keys that nothing discovers, an interface that exists, and fewer CPUs or
less memory than the machine has.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hosts.connection import HostKey
from hosts.errors import Blocked
from hosts.facts import STAND_IN, Facts, rails
from hosts.fleet import NAME, NAME_WANTED, Gpus, Host

Data = dict[str, Any]

STAND_IN_GPU = Gpus(count=8, model="stand-in", memory_mib=143771, device=STAND_IN)
"""What a stand-in stands for: an H200 as nvidia-smi prints it (reference/hardware)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The words of the command line; "" and 0: not said. `hosts` are NAME=ADDRESS, ADDRESS, or a NAME in the file."""

    fleet: str
    hosts: tuple[str, ...]
    default_user: str
    user: str = ""
    port: int = 0
    jump: str = ""
    login: str = ""
    identity: str = ""
    storage: str = ""
    slurm: str = ""
    partition: str = ""
    gpu: str = ""
    """What the GPUs of nodes are that a site's SLURM lists without saying it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One machine to read: how to get there, the name somebody gave it, and the one that the file has (`known`)."""

    host: Host
    name: str
    known: str
    login: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine that was read."""

    target: Target
    key: HostKey
    facts: Facts

    @property
    def name(self) -> str:
        """The name in the fleet: what somebody gave it, else what the machine calls itself."""
        return self.target.name or self.facts.hostname


def merge(existing: Data | None, request: Request, machines: Sequence[Machine]) -> tuple[Data, tuple[str, ...]]:
    """The fleet's document after these machines, and notes. Raises Blocked with every reason why there is none."""
    document = settings(existing, request)
    hosts: Data = document["hosts"]
    if any(machine.facts.stand_ins and not machine.facts.gpus for machine in machines):
        document = {"slurm": document["slurm"], "stand_in": True} | document | {"stand_in": True}
    refusals: list[str] = []
    notes: list[str] = []
    for machine in machines:
        name, target, facts = machine.name, machine.target, machine.facts
        was: Data = hosts.get(name) or {}
        twins = [m.target.host.address for m in machines if m.name == name]
        refusals += _refusals(machine, was, document["slurm"], sorted(set(twins)))
        jump = next((m.name for m in machines if m.target.host.name == target.host.jump), target.host.jump)
        others = any(entry.get("role") == "login" for other, entry in hosts.items() if other != name)
        role = "login" if target.login or not (others or facts.gpus or facts.stand_ins) else was.get("role", "node")
        hosts[name] = _entry(was, machine, jump=jump, role=role, sudo=document["slurm"] != "existing")
        notes += (f"{name}: {note}" for note in _notes(facts, hosts[name], document))
    if document["slurm"] != "none" and not any(entry.get("role") == "login" for entry in hosts.values()):
        refusals.append("no host is the login host, where jobs are submitted; add --login HOST")
    if refusals:
        raise Blocked(refusals, "nothing was written")
    drivers = {machine.facts.gpus[0].driver: machine.name for machine in machines if machine.facts.gpus}
    if len(drivers) > 1:
        notes.append("GPU drivers differ: " + ", ".join(f"{driver} on {name}" for driver, name in drivers.items()))
    return document, tuple(notes)


def differences(was: Mapping[str, object], now: Mapping[str, object], path: str = "") -> Iterator[str]:
    """A line for each thing that is new, gone, or `was → now`; whole hosts in one line."""
    for key in (*was, *(key for key in now if key not in was)):
        before, after, where = was.get(key), now.get(key), f"{path}{key}"
        if (isinstance(before, dict) and isinstance(after, dict)) or where == "hosts":
            yield from differences(before or {}, after or {}, f"{where}.")  # type: ignore[arg-type]
        elif key not in was:
            yield f"+ {where}: {_short(after)}"
        elif key not in now:
            yield f"- {where}: {_short(before)}"
        elif before != after:
            yield f"~ {where}: {_short(before)} → {_short(after)}"


def summary(facts: Facts) -> str:
    """One machine in one line."""
    gpus = "no GPUs"
    if facts.gpus:
        gpu = facts.gpus[0]
        gpus = f"{len(facts.gpus)} x {gpu.name} of {gpu.memory_mib} MiB, driver {gpu.driver}"
    elif facts.stand_ins:
        gpus = f"{facts.stand_ins} stand-ins of GPUs"
    cores = (
        f" ({facts.sockets} x {facts.cpus // facts.sockets}, {facts.threads_per_core} a core)" if facts.sockets else ""
    )
    ports = ", ".join(f"{hca.name}/{hca.port} {hca.link} {hca.state} {hca.rate}" for hca in facts.hcas)
    disks = ", ".join(f"{disk.name} {disk.size_bytes / 1e9:.0f} GB" for disk in facts.disks)
    store = facts.storage
    free = f"{store.kind} with {store.free_kib >> 20} GiB free at {store.at}" if store else ""
    return "; ".join(
        filter(
            None,
            (
                facts.os,
                f"{facts.cpus} CPUs{cores} {facts.cpu_model}" + (" with AMX" if facts.amx else ""),
                f"{facts.memory_mib} MiB, {facts.numa_nodes} NUMA node{'s' if facts.numa_nodes != 1 else ''}",
                gpus,
                f"reached by {facts.interface}" if facts.interface else "",
                ports or "no HCA",
                f"disks: {disks}" if disks else "",
                free,
            ),
        )
    )


def settings(existing: Data | None, request: Request) -> Data:
    """The document before any machine: what was there less the made-up hosts, and what the request sets."""
    new: Data = {"slurm": "ours", "storage": {"shared": True}, "hosts": {}}
    document = dict(existing or new)
    hosts = {name: entry for name, entry in document.pop("hosts").items() if not made_up(entry.get("host_key") or "")}
    if request.slurm:
        document["slurm"] = request.slurm
    if request.partition:
        document = {"slurm": document["slurm"], "partition": request.partition} | document
        document["partition"] = request.partition
    if request.storage:
        document["storage"] = {"path": request.storage} | document["storage"] | {"path": request.storage}
    if request.identity:
        document["identity"] = request.identity
    return document | {"hosts": hosts}


def made_up(host_key: str) -> bool:
    """Whether this is the key of an example: decoded, those say what they are."""
    encoded = (host_key.split() or [""])[1:2]
    return bool(encoded) and b"documentation only" in base64.b64decode(encoded[0] + "==")


def _refusals(machine: Machine, was: Data, slurm: str, twins: Sequence[str]) -> Iterator[str]:
    """Why this machine can't be in the file as it is."""
    where = f"{machine.name} ({machine.target.host.address})"
    yield from (f"{where}: {reason}" for reason in _wrong_names(machine, was, slurm, twins))
    yield from (f"{where}: {reason}" for reason in _wrong_gpus(machine.facts, was))
    facts = machine.facts
    if slurm == "ours" and not facts.root and facts.sudo:
        user = machine.target.host.user
        yield f"{where}: {user} has no sudo without a password ({facts.sudo}); install sudo with a NOPASSWD rule"
    if not facts.cpus or not facts.memory_mib:
        yield f"{where}: does not say how many CPUs ({facts.cpus}) and how much memory ({facts.memory_mib} MiB) it has"


def _wrong_names(machine: Machine, was: Data, slurm: str, twins: Sequence[str]) -> Iterator[str]:
    name, target, hostname = machine.name, machine.target, machine.facts.hostname
    if not NAME.fullmatch(name):
        yield f"its hostname is {name!r}, wanted {NAME_WANTED}; run there: hostnamectl set-hostname NAME"
    elif slurm == "ours" and name != hostname:
        yield f"calls itself {hostname!r}, and SLURM needs nodes under their own names; leave {name}= out"
    if len(twins) > 1:
        yield f"{' and '.join(twins)} all have this hostname; give each machine its own"
    if target.known and target.known != name:
        yield f"the file has this address as {target.known}; rename that entry, or the machine"
    pinned = str(was.get("host_key") or "")
    if not target.known and pinned and pinned.split()[:2] != machine.key.pin.split()[:2]:
        instead = f"if this machine replaces it, say so: {name}={target.host.address}"
        yield f"the file has {name} at {was.get('address')} with another host key; {instead}"


def _wrong_gpus(facts: Facts, was: Data) -> Iterator[str]:
    if facts.gpu_trouble:
        yield f"{facts.gpu_trouble}; mend the driver (after an update of it: reboot)"
    elif facts.gpus_on_bus and not facts.gpus:
        yield f"{facts.gpus_on_bus} NVIDIA GPUs on the PCI bus, and nvidia-smi shows none; install the driver"
    elif was.get("gpus") and not facts.gpus and not facts.stand_ins:
        yield "the file gives it GPUs and it shows none; if that is so, delete `gpus` there"
    kinds = sorted({(gpu.name, gpu.memory_mib) for gpu in facts.gpus})
    if len(kinds) > 1:
        several = ", ".join(f"{model} of {memory} MiB" for model, memory in kinds)
        yield f"GPUs of several kinds ({several}), and a fleet file has one kind a host"


def _entry(was: Data, machine: Machine, *, jump: str, role: str, sudo: bool) -> Data:
    """The host's entry: what was there, with what was discovered over it. `sudo` False: root is not used here."""
    host, facts, key = machine.target.host, machine.facts, machine.key
    found: Data = {"role": role} if role == "login" or "role" in was else {}
    found |= {"address": host.address, "user": host.user}
    if host.port != was.get("port", 22):
        found["port"] = host.port
    if not sudo or facts.root or facts.sudo:
        found["sudo"] = False
    if jump:
        found["jump"] = jump
    # where the fleet's known_hosts file pins this key already, the entry says nothing, as before
    if was.get("host_key", "").split()[:2] != key.pin.split() and ("host_key" in was or key.pinned != key.pin):
        found["host_key"] = key.pin
    found |= _sizes(facts, was)
    if facts.interface and was.get("interface") not in facts.addresses:
        found["interface"] = facts.interface
    taken, _ = rails(facts)
    if taken and facts.gpus and not _named_hcas(facts, was):
        found["hcas"] = list(taken)
    gpus = _gpus(facts, was.get("gpus") or {})
    return was | found | ({"gpus": gpus} if gpus else {})


def _named_hcas(facts: Facts, was: Data) -> bool:
    """Whether somebody named the HCAs (none of them: `[]`), and the machine has all of those."""
    return "hcas" in was and set(was["hcas"] or ()) <= {hca.name for hca in facts.hcas}


def _sizes(facts: Facts, was: Data) -> Data:
    """CPUs and memory, where the file has none, or more than there is, or no topology yet."""
    found: Data = {}
    if not 0 < was.get("cpus", 0) < facts.cpus:
        sockets = bool(facts.sockets) or "sockets" in was
        found["cpus"] = facts.cpus
        found |= {"sockets": facts.sockets, "threads_per_core": facts.threads_per_core} if sockets else {}
    if not 0 < was.get("memory_mib", 0) <= facts.memory_mib:
        found["memory_mib"] = _declared_memory(facts.memory_mib)
    return found


def _declared_memory(found_mib: int) -> int:
    """A little less than is there, in whole GiB: kernels differ by some MiB, and SLURM uses no node that has less."""
    return (found_mib * 98 // 100 >> 10 << 10) or found_mib


def _gpus(facts: Facts, was: Data) -> Data:
    if facts.gpus:
        gpu = facts.gpus[0]
        return {"count": len(facts.gpus), "model": gpu.name, "memory_mib": gpu.memory_mib}
    if facts.stand_ins:
        as_one = asdict(STAND_IN_GPU) | {"memory_mib": was.get("memory_mib", STAND_IN_GPU.memory_mib)}
        return as_one | {"count": facts.stand_ins}
    return {}


def _kept(facts: Facts, now: Data) -> Iterator[str]:
    if now["cpus"] < facts.cpus:
        yield f"cpus: {now['cpus']} kept, the machine has {facts.cpus}; delete the line to take them all"
    if now["memory_mib"] < _declared_memory(facts.memory_mib):
        yield f"memory_mib: {now['memory_mib']} kept, the machine has {facts.memory_mib}; delete the line to take it"
    if facts.interface and now.get("interface") != facts.interface:
        yield f"interface: {now.get('interface')} kept, the machine was reached by {facts.interface}"
    taken, certain = rails(facts)
    named = now.get("hcas") or []
    if facts.gpus and taken and set(named) != set(taken):
        rails_ = ", ".join(taken)
        yield f"hcas: {_short(named) or 'none'} kept, the compute rails are {rails_}; delete the line to take these"
    elif named and not certain:
        yield f"hcas: {_short(named)} were chosen by speed alone; if one leads to storage, delete it from the list"


def _notes(facts: Facts, now: Data, document: Data) -> Iterator[str]:
    """What a person may want to look at."""
    yield from _kept(facts, now)
    mig = [str(gpu.index) for gpu in facts.gpus if gpu.mig == "Enabled"]
    if mig:
        yield f"MIG is on, on GPU {', '.join(mig)}, and engines need whole GPUs; drain it, then: nvidia-smi -mig 0"
    ecc = [str(gpu.index) for gpu in facts.gpus if gpu.ecc == "Disabled"]
    if ecc:
        yield f"ECC is off, on GPU {', '.join(ecc)}; turn it on and reboot: nvidia-smi -e 1"
    if facts.gpus and facts.gpus_on_bus > len(facts.gpus):
        lost = facts.gpus_on_bus - len(facts.gpus)
        yield f"{lost} of {facts.gpus_on_bus} GPUs on the PCI bus are missing in nvidia-smi; look for Xid in dmesg"
    down = [f"{hca.name}/{hca.port} {hca.state}" for hca in facts.hcas if hca.state != "ACTIVE"]
    if down:
        yield f"ports that are not active: {', '.join(down)}"
    storage = document["storage"]
    if facts.storage and storage.get("shared", True) and not (facts.storage.network or document.get("stand_in")):
        local = f"{storage['path']} is {facts.storage.kind} of {facts.storage.device}, no network filesystem"
        yield f"{local}; if the hosts do not all see one folder there, mount it, or say `shared: false`"


def _short(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
