"""Whether a model fits: the ledger of the fullest GPU and of a node, and every problem with the number missing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hosts.problem import Problem
from infra.ledger import defaults
from infra.ledger.division import Division, divide
from infra.ledger.host import HostNeed, need
from infra.ledger.limits import limit_problems
from infra.ledger.request import AUTO, KT_ENGINES, FitRequest

SOURCE, HOST_SOURCE = "docs/ledger.md, a GPU", "docs/ledger.md, a node"
SMALL = 0.01
CERTAIN = 0.5
KT_TIGHT = 1.15
"""kt-kernel was seen to want more than is computed while it loads (engines.md 5: ask for 750 to 800 GiB)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The answer. All sizes in GiB; of the fullest GPU, and of one node."""

    request: FitRequest
    gpu: Division
    host: HostNeed
    problems: tuple[Problem, ...]

    @property
    def fits(self) -> bool:
        """Whether nothing that was found is an error."""
        return not any(problem.level == "error" for problem in self.problems)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that can be served: the cache of an engine that starts may hold fewer."""
        return min(self.request.context, self.gpu.tokens) if self.fits and self.gpu.tokens > 0 else self.request.context

    @property
    def missing_gib(self) -> float:
        """GiB a GPU that are missing for weights, work and one longest sequence; 0 where they are there."""
        return max(0.0, self.gpu.sequence_gib - self.gpu.kv) if _lacks(self.request, self.gpu) else 0.0

    @property
    def parts(self) -> Mapping[str, float]:
        """What fills a GPU, component to GiB, in the order of a picture; what is outside the engine's share last."""
        found = dict(sorted(self.gpu.weights.items(), key=lambda part: -part[1]))
        found |= {"activations": self.gpu.activations, "context, collectives": self.gpu.other}
        found |= {"KV cache": max(0.0, self.gpu.kv), "draft, outside the share": self.gpu.draft_outside}
        found |= {"left alone": self.gpu.outside - self.gpu.draft_outside}
        return {name: size for name, size in found.items() if size > 0}

    @property
    def picture(self) -> Mapping[str, float]:
        """`parts` for a person: what is smaller than one percent of the GPU stands together."""
        least = SMALL * self.request.gpu.total_gib
        small = {name: size for name, size in self.gpu.weights.items() if size < least}
        large = {name: size for name, size in self.parts.items() if name in self.gpu.weights and name not in small}
        together = {"other weights": sum(small.values())} if small else {}
        return large | together | {n: size for n, size in self.parts.items() if n not in self.gpu.weights}

    def to_json(self) -> dict[str, object]:
        """The fixed shape of DESIGN.md 1, and a few keys more."""
        r, d = self.request, self.gpu
        return {
            "fits": self.fits,
            "model": r.model.name,
            "engine": r.engine,
            "release": r.release,
            "gpu": {
                "name": r.gpu.name,
                "total_gib": round(r.gpu.total_gib, 2),
                "usable_gib": round(d.usable, 2),
                "weights_gib": round(d.weights_gib, 3),
                "activations_gib": round(d.activations, 2),
                "other_gib": round(d.other, 2),
                "kv_gib": round(d.kv, 2),
                "kv_tokens": d.tokens,
                "kv_bytes_per_token": round(d.token_bytes),
                "missing_gib": round(self.missing_gib, 2),
                "parts": {name: round(size, 3) for name, size in self.parts.items()},
            },
            "host": {
                "ram_gib": round(self.host.ram_gib, 1),
                "shm_gib": round(self.host.shm_gib, 1),
                "disk_gib": round(self.host.disk_gib, 1),
                "page_cache_gib": round(self.host.page_cache_gib, 1),
            },
            "problems": [problem.to_json() for problem in self.problems],
        }


def fit(r: FitRequest) -> Fit:
    """The ledger of a request."""
    division, host = divide(r), need(r)
    problems = (*_world(r), *_gpu_problems(r, division), *_host_problems(r, host), *limit_problems(r, host))
    return Fit(request=r, gpu=division, host=host, problems=problems)


def _world(r: FitRequest) -> Iterator[Problem]:
    have = r.gpus_per_node * r.nodes
    if r.world > have:
        yield Problem(
            where=r.place("tensor"),
            rule="world-size",
            found=f"{r.tensor} x {r.pipeline} x {r.data} = {r.world} ranks",
            wanted=f"at most the {have} GPUs of {r.nodes} node{'s' * (r.nodes > 1)} of {r.gpus_per_node}",
            why="tensor x pipeline x data is the number of GPUs",
            fix=f"--nodes {-(-r.world // r.gpus_per_node)}, or sizes of at most {have} GPUs",
            source="vLLM, SGLang: one rank a GPU",
        )


def _lacks(r: FitRequest, d: Division) -> bool:
    """Whether there is no room for weights, work and what the engine insists on."""
    if d.kv <= 0 or d.tokens <= 0:
        return True
    insists = r.engine == "vllm" or r.max_model_len > 0
    return insists and d.sequence_gib > d.kv


def _gpu_problems(r: FitRequest, d: Division) -> Iterator[Problem]:
    if r.gpu.unusual:
        yield Problem(
            level="warning",
            where=r.place("gpu"),
            rule="gpu-size",
            found=f"{r.gpu.total_gib:.1f} GiB of a {r.gpu.name}",
            wanted=f"about {r.gpu.usual_gib:.1f} GiB, which a {r.gpu.name} has",
            why="what is declared is believed, and the ledger is computed from it",
            fix="gpus.memory_mib of the node as `nvidia-smi --query-gpu=memory.total --format=csv` prints it",
            source=SOURCE,
        )
    if _lacks(r, d):
        short = d.sequence_gib - d.kv
        held = d.weights_gib + d.activations + d.other
        found = f"{held:.1f} GiB a GPU for weights ({d.weights_gib:.1f}), activations and the engine's own"
        length = "a block" if r.max_model_len == AUTO else f"one sequence of {r.context} tokens"
        if d.kv > 0:
            found = f"{d.kv:.1f} GiB a GPU left for KV cache, room for {d.tokens} tokens"
        yield Problem(
            where=r.place("gpu" if d.kv <= 0 else "max_model_len"),
            rule="gpu-memory",
            found=found,
            wanted=f"at most {d.usable:.1f} GiB (of {r.gpu.total_gib:.1f}) with {length} ({d.sequence_gib:.1f} GiB)",
            why=f"{short:.1f} GiB a GPU are missing; {r.engine} would not start",
            source=SOURCE,
        )
    elif r.engine != "vllm" and d.sequence_gib > d.kv:
        yield Problem(
            level="warning",
            where=r.place("max_model_len"),
            rule="gpu-memory",
            found=f"room for {d.tokens} tokens",
            wanted=f"the {r.context} tokens of the model's longest sequence",
            why="it starts, and refuses longer requests",
            fix=f"a context length of at most {d.tokens}",
            source=SOURCE,
        )
    if d.draft_outside > d.outside:
        yield Problem(
            where=r.place("utilization"),
            rule="gpu-memory",
            found=f"{d.outside:.1f} GiB a GPU outside the share of weights and KV cache",
            wanted=f"at least {d.draft_outside:.1f} GiB for the draft and its own cache, and activations",
            why="the draft is loaded after the memory was divided",
            fix="a smaller share",
            source="sglang 0.5.9, model_runner_kv_cache_mixin.py",
        )
    if r.gpu.total_gib - d.usable < 0:
        yield Problem(
            where=r.place("utilization"),
            rule="gpu-memory",
            found=f"{d.usable:.1f} GiB a GPU in use",
            wanted=f"at most {r.gpu.total_gib:.1f} GiB",
            source=SOURCE,
        )
    if r.engine == "vllm" and r.utilization > FULL:
        yield Problem(
            level="warning",
            where=r.place("utilization"),
            rule="utilization",
            found=f"{defaults.utilization(r):g}",
            wanted=f"at most {FULL:g}",
            why="the CUDA context and, before 0.21, graphs live in what is left",
            source=SOURCE,
        )


FULL = 0.97


def _host_problems(r: FitRequest, host: HostNeed) -> Iterator[Problem]:
    kt = r.engine in KT_ENGINES and r.kt is not None
    have = r.host_ram_gib
    if have is not None and host.ram_gib > have:
        yield Problem(
            # What a process of a GPU engine takes is assumed; what experts take is computed.
            level="error" if kt or have < CERTAIN * host.ram_gib else "warning",
            where=r.place("host_ram_gib"),
            rule="host-memory",
            found=f"{have:.0f} GiB a node",
            wanted=f"at least {host.ram_gib:.0f} GiB",
            why=f"{host.ram_gib - have:.0f} GiB are missing" + _experts_why(host),
            fix=f"{host.ram_gib * (KT_TIGHT if kt else 1):.0f} GiB" + (", or a smaller chunked-prefill-size" * kt),
            source=HOST_SOURCE if kt else "assumed: 8 GiB a process",
        )
    elif have is not None and kt and host.ram_gib * KT_TIGHT > have:
        yield Problem(
            level="warning",
            where=r.place("host_ram_gib"),
            rule="host-memory",
            found=f"{have:.0f} GiB a node",
            wanted=f"about {host.ram_gib * KT_TIGHT:.0f} GiB",
            why=f"{host.ram_gib:.0f} GiB are computed, and loading was seen to charge more than that",
            source=HOST_SOURCE,
        )
    if have is not None and kt and host.mapped_gib > max(0.0, have - host.ram_gib):
        yield Problem(
            level="warning",
            where=r.place("host_ram_gib"),
            rule="page-cache",
            found=f"{max(0.0, have - host.ram_gib):.0f} GiB for the page cache",
            wanted=f"{host.mapped_gib:.0f} GiB of mapped weights",
            why="it runs, and reads experts from the disk again and again",
            source=HOST_SOURCE,
        )
    for name, given, wanted in (("shm_gib", r.shm_gib, host.shm_gib), ("disk_gib", r.disk_gib, host.disk_gib)):
        if given is not None and wanted > given:
            yield Problem(
                level="error" if name == "disk_gib" else "warning",
                where=r.place(name),
                rule="disk" if name == "disk_gib" else "shared-memory",
                found=f"{given:.1f} GiB",
                wanted=f"at least {wanted:.1f} GiB",
                why=f"{wanted - given:.1f} GiB are missing",
                source="the checkpoint's size" if name == "disk_gib" else "assumed: 0.5 GiB a rank",
            )


def _experts_why(host: HostNeed) -> str:
    if not host.experts_gib:
        return ""
    return f": experts {host.experts_gib:.1f}, activation pools {host.pools_gib:.1f}, loading {host.loading_gib:.1f}"
