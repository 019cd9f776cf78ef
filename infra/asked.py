"""What a ledger is asked about a deployment: its options as the fields that decide memory, each with its `$.path`."""

from collections.abc import Mapping

from hosts.fleet import Host
from infra.deployment import Deployment
from infra.ledger.gpus import Gpu, declared
from infra.ledger.request import AUTO, FitRequest, Kt, Limit
from infra.ledger.typed import ENGINES
from infra.placement import Placement
from infra.rules import Subject
from infra.sizes import gib

_NAMES: Mapping[str, Mapping[str, str]] = {
    "vllm": {
        "dtype": "dtype", "quantization": "quantization", "kv_dtype": "kv-cache-dtype", "block_size": "block-size",
        "max_model_len": "max-model-len", "max_num_seqs": "max-num-seqs", "eager": "enforce-eager",
        "max_num_batched_tokens": "max-num-batched-tokens", "utilization": "gpu-memory-utilization",
        "offload_gib": "kv-offloading-size", "language_only": "language-model-only",
    },
    "sglang": {
        "dtype": "dtype", "quantization": "quantization", "kv_dtype": "kv-cache-dtype", "block_size": "page-size",
        "max_model_len": "context-length", "max_num_seqs": "max-running-requests", "eager": "disable-cuda-graph",
        "max_num_batched_tokens": "chunked-prefill-size", "utilization": "mem-fraction-static",
        "most_tokens": "max-total-tokens", "redundant_experts": "ep-num-redundant-experts",
        "dense_tensor": "moe-dense-tp-size",
    },
    "trtllm": {
        "max_model_len": "max_seq_len", "max_num_seqs": "max_batch_size", "max_num_batched_tokens": "max_num_tokens",
        "utilization": "free_gpu_memory_fraction",
    },
}  # fmt: skip
"""Options by the fields that they are."""
_PLACES: Mapping[str, str] = {
    "gpu": "$.fleet",
    "model": "$.model",
    "draft": "$.draft",
    "host_ram_gib": "$.launcher.mem",
    "shm_gib": "$.launcher.shm",
    "disk_gib": "$.fleet",
    "limit.storage_gib": "$.fleet",
}


def request(d: Deployment, subject: Subject, place: Placement, *, host_gib: float = 0.0) -> FitRequest | None:
    """The question of one part of a deployment; None where the ledger does not know the engine or the GPUs.

    `host_gib` is host memory that something beside the engine takes on one of its nodes.
    """
    gpu = gpu_of(place.candidates)
    engine = d.engine
    if d.fleet.stand_in or gpu is None or engine not in ENGINES:
        return None
    names = _NAMES["sglang" if engine.startswith("sglang") else engine]
    p = d.parallelism
    base = subject.place if subject.place.startswith("$.roles.") else "$"
    places = {field: subject.places[name] for field, name in names.items() if name in subject.places}
    sizes = ("tensor", "pipeline", "data", "expert", "decode_context")
    places |= {**_PLACES} | {name: f"{base}.parallelism.{name}" for name in sizes}
    if not d.launcher.mem:
        places["host_ram_gib"] = "$.fleet"
    if "max_model_len" not in places:
        places["max_model_len"] = "$.engine.args" if base == "$" else base

    def whole(field: str) -> int:
        value = subject.options.get(names.get(field, ""))
        if value in ("auto", -1):
            return AUTO
        return value if isinstance(value, int) and not isinstance(value, bool) else 0

    def text(field: str, default: str) -> str:
        return subject.text(names.get(field, "")) or default

    return FitRequest(
        model=d.model,
        engine=engine,
        release=d.release,
        gpu=gpu,
        gpus_per_node=_gpus_per_node(d, place, role=base != "$"),
        nodes=p.world // place.gpus_per_node,
        tensor=p.tensor,
        pipeline=p.pipeline,
        data=p.data,
        expert=p.expert or _experts_divided(subject),
        decode_context=p.decode_context,
        dtype=text("dtype", "auto"),
        quantization=text("quantization", ""),
        kv_dtype=text("kv_dtype", "auto"),
        max_model_len=whole("max_model_len"),
        max_num_seqs=whole("max_num_seqs"),
        max_num_batched_tokens=whole("max_num_batched_tokens"),
        utilization=subject.real(names["utilization"]) or 0.0,
        draft=d.draft,
        dp_attention=engine != "vllm" and p.data > 1,
        data_encoder=_data_encoder(subject),
        language_only=subject.given(names.get("language_only", "")),
        eager=subject.given(names.get("eager", "")),
        prefix_caching=_prefix_caching(subject),
        redundant_experts=_redundant(subject, whole("redundant_experts")),
        dense_tensor=whole("dense_tensor"),
        whole_shared=(subject.text("moe-a2a-backend") or "none") != "none" or subject.given("enable-deepep-moe"),
        attention_head=subject.given("enable-dp-lm-head"),
        block_size=whole("block_size"),
        most_tokens=whole("most_tokens"),
        offload_gib=(subject.real(names.get("offload_gib", "")) or 0.0) + host_gib * (p.world // place.gpus_per_node),
        kt=_kt(d, subject, place.candidates),
        host_ram_gib=host_memory_gib(d, place.candidates),
        shm_gib=gib(d.launcher.shm, d.launcher.name) or None,
        cpus=d.launcher.cpus,
        limits=_limits(d),
        places=places,
    )


def gpu_of(hosts: tuple[Host, ...]) -> Gpu | None:
    """The GPU of the nodes, with what torch would report of it; None where they have none."""
    found = next((host.gpus for host in hosts if host.gpus), None)
    return declared(found.model, found.memory_mib) if found else None


def host_memory_gib(d: Deployment, hosts: tuple[Host, ...]) -> float | None:
    """What the engine may take of a node's memory: what the launcher asks for, else what the smallest node has."""
    have = [host.memory_mib / 1024 for host in hosts if host.memory_mib]
    asked = gib(d.launcher.mem, d.launcher.name)
    if not have:
        return asked or None
    # what is asked for is not there because somebody asked
    return min(asked, max(have)) if asked else min(have)


def _gpus_per_node(d: Deployment, place: Placement, *, role: bool) -> int:
    """GPUs that a node has for it, in use or idle; all roles take the same number, so none alone can take more."""
    counts = [host.gpus.count for host in place.candidates if host.gpus]
    return place.gpus_per_node if role else d.launcher.gpus or max(counts, default=place.gpus_per_node)


def _experts_divided(subject: Subject) -> bool:
    size = subject.number("ep-size") or subject.number("moe_expert_parallel_size") or subject.number("ep_size") or 1
    return size > 1


def _data_encoder(subject: Subject) -> bool | None:
    mode = subject.text("mm-encoder-tp-mode")
    return None if mode is None else mode == "data"


def _prefix_caching(subject: Subject) -> bool | None:
    if subject.given("disable-radix-cache"):
        return False
    value = subject.options.get("enable-prefix-caching")
    return value if isinstance(value, bool) else None


def _redundant(subject: Subject, given: int) -> int:
    value = (subject.mapping("eplb-config") or {}).get("num_redundant_experts")
    return value if isinstance(value, int) else given


def _kt(d: Deployment, subject: Subject, hosts: tuple[Host, ...]) -> Kt | None:
    method = subject.text("kt-method")
    if d.engine != "sglang-kt" or method is None:
        return None
    return Kt(
        method=method,
        gpu_experts=subject.number("kt-num-gpu-experts") or 0,
        threadpools=subject.count("kt-threadpool-count", 2) or 2,
        chunked_prefill=subject.number("chunked-prefill-size") or 0,
        prefill_threshold=subject.number("kt-gpu-prefill-token-threshold") or 0,
        cpu=_cpu_class(hosts),
    )


def _cpu_class(hosts: tuple[Host, ...]) -> str:
    """Which of kt-kernel's classes the nodes' CPUs get; "" where nobody named their flags."""
    flags = [frozenset(host.cpu_flags) for host in hosts]
    if not flags or not all(flags):
        return ""
    common = frozenset.intersection(*flags)
    if {"avx512f", "avx512bw"} <= common:
        return "avx512"
    return "avxvnni" if "avx_vnni" in common else "avx2"


def _limits(d: Deployment) -> tuple[Limit, ...]:
    """The volume of a namespace; what jobs and pods ask for is held against their limits by the launchers."""
    namespace = d.fleet.kubernetes
    if namespace is None or not namespace.quota.storage_gib:
        return ()
    return (Limit(what="storage_gib", most=namespace.quota.storage_gib, of=f"namespace {namespace.namespace}"),)
