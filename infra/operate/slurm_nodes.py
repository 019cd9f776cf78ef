"""Nodes as a site's SLURM knows them, for a fleet file: read on the login host, without logging in to any of them.

SLURM knows names, CPUs, memory and how many GPUs; what a GPU is called there is the site's choice, and its memory is in
no field. Both are taken from the product that the GRES's type names, or that a person names.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hosts.errors import Blocked, Failed
from hosts.fleet import NAME, NAME_WANTED
from hosts.resources.slurm_job import PATH
from hosts.schema import WORD, describe
from infra.ledger.gpus import Gpu, named
from infra.operate.fleet_file import Data

NOTHING = "nothing was written"
RESERVED_MIB = 616
"""What an H200 keeps of its memory for itself, and nvidia-smi counts in the total."""
SHOW = f"{PATH}\ntimeout 60 scontrol show node 2>&1"
FREE_TEXT = ("OS=", "Comment=", "Extra=", "Reason=")
"""Lines of a record that hold what somebody typed; in all others, blanks separate fields."""
GRES = re.compile(r"gpu(?::(?P<type>[A-Za-z0-9][A-Za-z0-9_.-]*))?:(?P<count>[0-9]{1,3})(\([^()]*\))?")
NUMBERS = ("CPUTot", "Sockets", "CoresPerSocket", "ThreadsPerCore", "RealMemory")
PART = re.compile(r"(MIG_)?[0-9]+g\.[0-9]+gb.*", re.IGNORECASE)
"""The type of a part of a GPU (MIG)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node. `sockets` and `threads_per_core` are 0 where they do not make up its CPUs; `gpu_type` may be ""."""

    name: str
    address: str
    partitions: tuple[str, ...]
    cpus: int
    sockets: int
    threads_per_core: int
    memory_mib: int
    gpus: int
    gpu_type: str


def parse(text: str, login: str) -> tuple[tuple[Node, ...], tuple[str, ...]]:
    """The nodes with GPUs of `scontrol show node`, and why others were left out. Raises Failed where it shows none."""
    records = list(_records(text))
    if not records:
        first = next(filter(None, map(str.strip, text.splitlines())), "nothing")
        raise Failed(
            f"{login}: `scontrol show node` shows no node, but {describe(first)}; run it there, "
            "or write the nodes into the fleet file by hand"
        )
    nodes: list[Node] = []
    left_out: list[str] = []
    for record in records:
        found = _node(record)
        if isinstance(found, Node):
            nodes.append(found)
        elif found:
            left_out.append(found)
    return tuple(nodes), tuple(left_out)


def _records(text: str) -> Iterator[dict[str, str]]:
    """The fields of each record; of one that is there twice the first, since free text comes last."""
    record: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("NodeName="):
            if record:
                yield record
            record = {}
        elif not record or line.strip().startswith(FREE_TEXT):
            continue
        for word in line.split():
            key, mark, value = word.partition("=")
            if mark:
                record.setdefault(key, value)
    if record:
        yield record


def _node(record: Mapping[str, str]) -> Node | str:
    """A node, or why it is left out; "" where it just has no GPUs."""
    name, address, gres = record.get("NodeName", ""), record.get("NodeAddr", ""), record.get("Gres", "")
    kinds = [found for piece in re.split(r",(?![^()]*\))", gres) if (found := GRES.fullmatch(piece))]
    if not kinds and not gres.startswith("gpu"):
        return ""
    if reason := next(_wrong(record, kinds), ""):
        return reason
    cpus, sockets, cores, threads, memory = (int(record[field]) for field in NUMBERS)
    effective = record.get("CPUEfctv", "")  # less those that the site keeps for itself
    whole = cpus == sockets * cores * threads
    return Node(
        name=name,
        address=address,
        partitions=tuple(it for it in record.get("Partitions", "").split(",") if re.fullmatch(WORD.pattern, it)),
        cpus=min(cpus, int(effective)) if re.fullmatch(r"[1-9][0-9]{0,8}", effective) else cpus,
        sockets=sockets if whole else 0,
        threads_per_core=threads if whole else 0,
        memory_mib=memory,
        gpus=int(kinds[0]["count"]),
        gpu_type=kinds[0]["type"] or "",
    )


def _wrong(record: Mapping[str, str], kinds: Sequence[re.Match[str]]) -> Iterator[str]:
    """Why a node with GPUs can't be in a fleet file."""
    name, address, gres = record.get("NodeName", ""), record.get("NodeAddr", ""), describe(record.get("Gres"))
    if not NAME.fullmatch(name):
        yield f"{describe(name)} can't be a host's name: wanted {NAME_WANTED}"
    if not re.fullmatch(WORD.pattern, address):
        yield f"{name}: its NodeAddr {describe(address)} is no address"
    if not kinds:
        yield f"{name}: its Gres {gres} can't be read"
    elif len(kinds) > 1:
        yield f"{name} has GPUs of several kinds ({gres}), and a fleet file has one kind per host"
    elif PART.fullmatch(kinds[0]["type"] or ""):
        yield f"{name} has parts of GPUs (MIG, {gres}), and engines need whole ones"
    for field in NUMBERS:
        if not re.fullmatch(r"[0-9]{1,9}", record.get(field, "")):
            yield f"{name}: {field} is {describe(record.get(field))}, wanted a number"


def partition_of(nodes: Sequence[Node], wanted: str) -> str:
    """The partition to take: the one wanted, `gpu`, or the only one that has all nodes with GPUs. Raises Blocked."""
    sizes: dict[str, int] = {}
    for node in nodes:
        for name in node.partitions:
            sizes[name] = sizes.get(name, 0) + 1
    listed = ", ".join(f"{name} ({count} nodes)" for name, count in sizes.items()) or "none"
    if wanted:
        if wanted not in sizes:
            raise Blocked(
                [f"no node with GPUs is in the partition {wanted}; partitions that have some: {listed}"], NOTHING
            )
        return wanted
    whole = [name for name, count in sizes.items() if count == len(nodes)]
    found = ["gpu"] if "gpu" in sizes else whole if len(whole) == 1 else list(sizes)
    if len(found) != 1:
        raise Blocked(
            [f"which partition is meant? Those that have nodes with GPUs: {listed}; add --partition NAME"], NOTHING
        )
    return found[0]


def declare(hosts: Data, nodes: Sequence[Node], *, partition: str, gpu: str, user: str) -> tuple[Data, tuple[str, ...]]:
    """The hosts of a fleet file with the nodes of a partition, and notes; what a person wrote of one stays.

    `gpu` is the product that a person names, "" where the types shall tell. Raises Blocked where they do not.
    """
    taken = [node for node in nodes if partition in node.partitions]
    products = {node.gpu_type: _product(gpu or node.gpu_type) for node in taken}
    unknown = sorted(kind for kind, product in products.items() if product is None)
    if unknown:
        names = ", ".join(
            f"{sum(node.gpu_type == kind for node in taken)} nodes with {f'gpu:{kind}' if kind else 'no type'}"
            for kind in unknown
        )
        raise Blocked(
            [f"SLURM does not tell what the GPUs are ({names}); add --gpu, as --gpu h200 or --gpu h100"], NOTHING
        )
    merged = dict(hosts)
    notes: list[str] = []
    for node in taken:
        product = products[node.gpu_type]
        assert product is not None  # or it had been refused
        found = _entry(node, product, user)
        was: Data = merged.get(node.name) or {}
        merged[node.name] = found | was
        kept = [
            f"{key}: {_shown(was[key])} kept, SLURM has {_shown(found[key])}"
            for key in was
            if _differs(key, was, found)
        ]
        notes += (f"{node.name}: {line}; delete the line to take it" for line in kept)
    for kind, product in products.items():
        assert product is not None
        by = "as --gpu says" if gpu else f"by its type gpu:{kind}"
        notes.append(
            f"{sum(node.gpu_type == kind for node in taken)} nodes are declared with {_model(product)} of "
            f"{_memory_mib(product)} MiB, {by}; SLURM does not know the memory: correct it where nvidia-smi differs"
        )
    return merged, tuple(notes)


def _product(name: str) -> Gpu | None:
    return named(name) if name else None


def _entry(node: Node, product: Gpu, user: str) -> Data:
    topology = {"sockets": node.sockets, "threads_per_core": node.threads_per_core} if node.sockets else {}
    return {
        "address": node.address,
        "user": user,
        "cpus": node.cpus,
        **topology,
        "memory_mib": node.memory_mib,
        "gpus": {"count": node.gpus, "model": _model(product), "memory_mib": _memory_mib(product)},
    }


def _differs(key: str, was: Data, found: Data) -> bool:
    """Whether SLURM knows a value otherwise; of GPUs it knows the number alone."""
    if key == "gpus" and isinstance(was[key], dict):
        return bool(was[key].get("count") != found[key]["count"])
    return key in ("address", "cpus", "memory_mib") and was[key] != found[key]


def _shown(value: object) -> str:
    return f"{value.get('count')} GPUs" if isinstance(value, dict) else str(value)


def _model(product: Gpu) -> str:
    return f"{'AMD' if product.rocm else 'NVIDIA'} {product.name}"


def _memory_mib(product: Gpu) -> int:
    """As nvidia-smi prints it."""
    return round(product.total_gib * 1024) + RESERVED_MIB
