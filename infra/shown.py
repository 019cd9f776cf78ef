"""What a plan shows, as finished values: the same on a terminal and on a page."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hosts.state import Stage
from infra.bars import Part
from infra.changes import Change
from infra.deployment import Deployment
from infra.desired import desired
from infra.engines import ENGINES
from infra.folding import Launch, RankRow, launches, names, rank_rows
from infra.launchers import LAUNCHERS
from infra.launchers.slurm import minutes
from infra.ledger.fit import Fit
from infra.placement import place
from infra.reading import Reading
from infra.sizes import gib

GROUPS: Mapping[str, str] = {
    "attention, replicated": "attention",
    "absorbed kv_b": "attention",
    "linear attention": "attention",
}
"""Components of weights that are told together."""
GIB = 1 << 30
SMALL = 0.006
"""A component that takes a smaller share of a GPU is told with the others."""
OTHERS = "other weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Something that a node or a queue must have: "" where nobody said how much there is."""

    name: str
    needs: str
    has: str
    whose: str = ""
    share: float | None = None
    """Of what there is; None where that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The memory of the fullest GPU of one part, and what a node of it needs."""

    role: str
    title: str
    total_gib: float
    usable_gib: float
    parts: tuple[Part, ...]
    said: str
    missing_gib: float
    fits: bool
    needs: tuple[Need, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRow:
    """One stage: where, and what on each group of hosts that have the same."""

    name: str
    hosts: str
    count: int
    groups: tuple[tuple[str, tuple[str, ...]], ...]


def title(d: Deployment) -> str:
    """The stack in one line."""
    return f"{d.model.name} by {d.engine} {d.release} through {d.launcher.name} on {d.fleet.name}"


def ranks(it: Reading) -> tuple[RankRow, ...]:
    """What runs where."""
    d = it.deployment
    return tuple(rank_rows(place(d).ranks, anywhere(d))) if it.placed else ()


def anywhere(d: Deployment) -> str:
    """Where a scheduler may put a rank."""
    listed = names([host.name for host in place(d).candidates])
    return f"any of {listed}" if d.fleet.slurm == "ours" else f"any node of {d.launcher.partition}"


def by_hand(it: Reading) -> tuple[Launch, ...]:
    """The lines that a person would type."""
    d = it.deployment
    if not it.rendered:
        return ()
    return tuple(launches(LAUNCHERS[d.launcher.name].by_hand(d, place(d), ENGINES[d.engine])))


def files(it: Reading) -> Mapping[str, str]:
    """The files that the engine reads."""
    return ENGINES[it.deployment.engine].files(it.deployment) if it.rendered else {}


def ledgers(it: Reading) -> tuple[Ledger, ...]:
    """Of each part that has one."""
    return tuple(_ledger(it.deployment, role, fit, it.changes.get(role, ())) for role, fit in it.fits.items())


def _ledger(d: Deployment, role: str, fit: Fit, changes: tuple[Change, ...]) -> Ledger:
    r, gpu = fit.request, fit.gpu
    gpus = r.world
    which = f"a GPU, the fullest of {gpus}" if gpus > 1 else "its GPU"
    return Ledger(
        role=role,
        title=f"{which} ({r.gpu.name}): {r.gpu.total_gib:.1f} GiB, {gpu.usable:.1f} of it for {r.engine}",
        total_gib=r.gpu.total_gib,
        usable_gib=gpu.usable,
        parts=tuple(_parts(fit)),
        said=_said(fit),
        missing_gib=fit.missing_gib,
        fits=fit.fits,
        needs=tuple(_needs(d, fit)),
        changes=changes,
    )


def _parts(fit: Fit) -> Iterator[Part]:
    gpu = fit.gpu
    yield Part(name="weights", gib=gpu.weights_gib, kind="weights")
    for name, size in _components(fit).items():
        yield Part(name=name, gib=size, kind="weights", inner=True)
    if gpu.activations > 0:
        yield Part(name="activations", gib=gpu.activations, kind="work")
    yield Part(name="context, collectives", gib=gpu.other, kind="work")
    if gpu.kv > 0:
        used = _used(fit)
        yield Part(name="KV cache", gib=used, kind="cache")
        if used < gpu.kv:
            yield Part(name="not used, by its limit", gib=gpu.kv - used, kind="free")
    if fit.missing_gib > 0:
        yield Part(name="missing", gib=fit.missing_gib, kind="missing")
    if gpu.outside > 0 and gpu.kv > 0:
        name = "left for work" if gpu.activations <= 0 else "left free"
        yield Part(name=name, gib=gpu.outside, kind="free")


def _used(fit: Fit) -> float:
    """GiB of the cache, less than there is room for where an option limits its tokens."""
    r, gpu = fit.request, fit.gpu
    if r.most_tokens > 0 and gpu.tokens <= r.most_tokens:
        return min(gpu.kv, gpu.tokens * gpu.token_bytes / GIB)
    return gpu.kv


def _components(fit: Fit) -> Mapping[str, float]:
    """Weights in groups, the largest first, small ones together at the end."""
    grouped: dict[str, float] = {}
    for name, size in fit.gpu.weights.items():
        group = GROUPS.get(name, name)
        grouped[group] = grouped.get(group, 0.0) + size
    least = SMALL * fit.request.gpu.total_gib
    large = {name: size for name, size in sorted(grouped.items(), key=lambda it: -it[1]) if size >= least}
    rest = sum(grouped.values()) - sum(large.values())
    return large | ({OTHERS: rest} if rest > 0.05 else {})


def _said(fit: Fit) -> str:
    """What the cache is good for."""
    r, gpu = fit.request, fit.gpu
    longest = f"the longest sequence: {r.context:,} tokens, {gpu.sequence_gib:.1f} GiB"
    if gpu.kv <= 0:
        return f"no room for KV cache; {longest}"
    if fit.longest < r.context:
        longest = f"the longest sequence: {fit.longest:,}, where the cache ends; the context is {r.context:,}"
    return f"KV cache: {max(0, gpu.tokens):,} tokens of {gpu.token_bytes / 1024:.1f} KiB; {longest}"


def verdict(it: Reading) -> str:
    """The one thing to know first: what refuses it, or that it fits, where that was computed."""
    warnings = f"{len(it.warnings)} warning{'s' * (len(it.warnings) > 1)}" if it.warnings else ""
    if it.errors:
        said = f"refused: {len(it.errors)} error{'s' * (len(it.errors) > 1)}"
        return f"{said}, {warnings}" if warnings else said
    return f"{'fits' if it.fits else 'can be planned'}; {warnings or 'no problem found'}"


def _needs(d: Deployment, fit: Fit) -> Iterator[Need]:
    """RAM, shared memory and disk of a node against what is declared."""
    host, r = fit.host, fit.request
    whose = "slipway:launcher.mem" if d.launcher.mem else f"the nodes of {d.fleet.name}"
    yield _need("RAM", host.ram_gib, r.host_ram_gib, whose)
    if host.experts_gib:
        yield Need(name="  of it experts on CPUs", needs=f"{host.experts_gib:.0f} GiB", has="")
    yield Need(name="  page cache, loading", needs=f"up to {host.page_cache_gib:.0f} GiB", has="", whose="reclaimable")
    yield _need("/dev/shm", host.shm_gib, r.shm_gib, "slipway:launcher.shm")  # noqa: S108 - its name
    quota = d.fleet.kubernetes.quota.storage_gib if d.fleet.kubernetes else 0
    disk = r.disk_gib if r.disk_gib is not None else (quota or None)
    yield _need("disk for the weights", host.disk_gib, disk, "the namespace's volume" if quota else "")


def _need(name: str, needs: float, has: float | None, whose: str) -> Need:
    if has is None:
        return Need(name=name, needs=f"{needs:.0f} GiB", has="", whose="not declared")
    return Need(name=name, needs=f"{needs:.0f} GiB", has=f"{has:.0f} GiB", whose=whose, share=needs / has if has else 1)


def limits(it: Reading) -> tuple[Need, ...]:
    """What the queue or namespace gives, against what is asked for; () where the fleet declares none."""
    if not it.placed:
        return ()
    d, placed = it.deployment, place(it.deployment)
    asked = {
        "GPUs": float(placed.gpus),
        "CPUs": float(d.launcher.cpus * placed.nodes),
        "memory": gib(d.launcher.mem, d.launcher.name) * placed.nodes,
        "time": float(minutes(d.launcher.time)),
    }
    found: list[Need] = []
    if d.fleet.limits:
        most = d.fleet.limits
        given = {"GPUs": most.gpus, "CPUs": most.cpus, "memory": most.memory_mib / 1024, "time": minutes(most.max_time)}
        found += _limits(asked, given, f"the queue of {d.fleet.name}")
    if d.fleet.kubernetes:
        quota = d.fleet.kubernetes.quota
        given = {"GPUs": quota.gpus, "CPUs": quota.cpus, "memory": quota.memory_mib / 1024}
        found += _limits(asked, given, f"namespace {d.fleet.kubernetes.namespace}")
    return tuple(found)


def _limits(asked: Mapping[str, float], most: Mapping[str, float], whose: str) -> Iterator[Need]:
    units = {"memory": " GiB", "time": " min"}
    for name, given in most.items():
        if given:
            unit = units.get(name, "")
            needs = f"{asked[name]:.0f}{unit}" if asked[name] else "not said"
            yield Need(name=name, needs=needs, has=f"{given:.0f}{unit}", whose=whose, share=asked[name] / given)


def cost(it: Reading) -> str:
    """GPUs taken and what they cost an hour, in the fleet's currency."""
    if not it.placed:
        return ""
    d, placed = it.deployment, place(it.deployment)
    taken = f"{placed.gpus} GPU{'s' * (placed.gpus > 1)} on {placed.nodes} node{'s' * (placed.nodes > 1)}"
    price = d.fleet.price_per_gpu_hour
    if not price:
        return f"{taken}; the fleet's file names no price_per_gpu_hour"
    from decimal import Decimal  # noqa: PLC0415 - only where there is a price

    hourly = Decimal(price) * placed.gpus
    text = f"{taken} x {Decimal(price):,.2f} = {hourly:,.2f} an hour"
    asked = minutes(d.launcher.time) if d.launcher.name == "slurm" else 0
    if asked:
        text += f"; {hourly * asked / 60:,.2f} if it runs its whole time, {d.launcher.time}"
    return text + "; the price of a million tokens is not known before it is measured"


def stages(it: Reading) -> tuple[Stage, ...]:
    """What is brought about, in that order."""
    # keys do not depend on who holds the claims, nor on the values of secrets
    return desired(it.deployment, backend="", holder="", digests={}) if it.staged else ()


def stage_rows(it: Reading) -> tuple[StageRow, ...]:
    """The stages, hosts with the same resources together."""
    return tuple(
        StageRow(
            name=stage.name,
            hosts=names(list(stage.hosts)),
            count=sum(len(resources) for resources in stage.hosts.values()),
            groups=tuple((", ".join(hosts), keys) for hosts, keys in _grouped(stage)),
        )
        for stage in stages(it)
    )


def _grouped(stage: Stage) -> Iterator[tuple[list[str], tuple[str, ...]]]:
    """(hosts, keys), hosts with the same keys together."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for host, resources in stage.hosts.items():
        groups.setdefault(tuple(resource.key for resource in resources), []).append(host)
    yield from ((hosts, keys) for keys, hosts in groups.items())
