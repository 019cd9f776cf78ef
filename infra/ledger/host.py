"""What a node needs beside its GPUs: RAM (KTransformers' experts above all), shared memory, disk."""

from dataclasses import dataclass

from infra.architecture import MOE, Architecture
from infra.ledger import defaults
from infra.ledger.release import since
from infra.ledger.request import KT_ENGINES, FitRequest, Kt
from infra.ledger.weights import Shards, checkpoint_bytes, rank_experts

GIB = 1 << 30
PROCESS_GIB = 8.0
"""One engine process with its CUDA context, libraries and pinned buffers [assumed]."""
SERVER_GIB = 4.0
"""API server, tokenizer, scheduler [assumed]."""
SHM_GIB_A_GPU, SHM_BASE_GIB = 0.5, 1.0
"""NCCL's and the engine's own rings between processes [assumed]."""
SMALL_FILES_GIB = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNeed:
    """One node. `page_cache_gib` is reclaimable, and charged to a cgroup all the same while a checkpoint is read."""

    ram_gib: float
    shm_gib: float
    disk_gib: float
    page_cache_gib: float
    experts_gib: float = 0.0
    pools_gib: float = 0.0
    loading_gib: float = 0.0
    mapped_gib: float = 0.0
    """Of the page cache what is in use all the time, or stays mapped while loading."""


def shm_gib(gpus: int) -> float:
    """What the processes of one node with so many GPUs pass through /dev/shm, in GiB."""
    return SHM_BASE_GIB + SHM_GIB_A_GPU * gpus


def need(r: FitRequest) -> HostNeed:
    """What one node needs."""
    here = min(r.gpus_per_node, -(-r.world // r.nodes))
    shm = shm_gib(here)
    files = max(r.model.weights_bytes, 1) / GIB
    if r.quantization:
        files = checkpoint_bytes(r.model.architecture, r.precision) / GIB
    drafts = r.draft.weights_bytes / GIB if r.draft else 0.0
    ram = SERVER_GIB + PROCESS_GIB * here + shm + r.offload_gib / max(1, r.nodes)
    experts = _Experts()
    if r.engine in KT_ENGINES and r.kt:
        experts = _experts(r, r.kt)
        ram += experts.resident + experts.pools + experts.loading
    return HostNeed(
        ram_gib=ram,
        shm_gib=shm,
        disk_gib=files + drafts + SMALL_FILES_GIB,
        page_cache_gib=files + drafts,
        experts_gib=experts.resident,
        pools_gib=experts.pools,
        loading_gib=experts.loading,
        mapped_gib=experts.mapped,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Experts:
    resident: float = 0.0
    pools: float = 0.0
    loading: float = 0.0
    mapped: float = 0.0


RAWINT4_FULL, RAWINT4_SCALES, RAWINT4_WIDE = 0.625, 0.125, 1.1875
"""Bytes a routed parameter of kt-kernel's three RAWINT4 classes (engines.md 5): INT4 with FP32 scales, FP32 scales with
the weights left in the files, INT8 with FP32 scales and INT16 sums."""
METHOD_BYTES = {
    "AMXINT4": 0.5625,
    "MOE_INT4": 0.5625,
    "AMXINT8": 1.03125,
    "MOE_INT8": 1.03125,
    "FP8": 1 + 4 / 16384,
    "FP8_PERCHANNEL": 1.0,
    "MXFP8": 1 + 1 / 32,
    "BF16": 2.0,
    "GPTQ_INT4": 0.5625,
    "SYCL_GPTQ_INT4": 0.5625,
    "MXFP4": 0.53125,
    "NVFP4": 0.5625,
    "LLAMAFILE": 0.5625,
}
"""Bytes a routed parameter in host memory [inferred from the formats, but for RAWINT4]."""
UNMAPS_SINCE = "0.6.2"
"""Before git f05b4009, which 0.6.2 has and 0.6.1.post1 has not, shards stay mapped while all layers load."""


def _experts(r: FitRequest, kt: Kt) -> _Experts:
    a = r.model.architecture
    routed = rank_experts(a, Shards()) * 3 * (a.expert_hidden or a.hidden) * a.expert_intermediate * a.layers_of(MOE)
    method = kt.method.upper()
    raw = a.layers_of(MOE) and r.precision.routed * routed / GIB
    layer = raw / max(1, a.layers_of(MOE))
    share = (a.experts - kt.gpu_experts) / a.experts if a.experts else 0.0
    mapped = 0.0 if since(kt.kernel or r.release, UNMAPS_SINCE) else raw
    if method != "RAWINT4":
        resident = METHOD_BYTES.get(method, r.precision.routed) * routed / GIB
    elif kt.cpu == "avx2":
        resident, mapped = RAWINT4_SCALES * routed / GIB, 0.5 * routed / GIB * share
    elif kt.cpu == "avxvnni":
        resident = RAWINT4_WIDE * routed / GIB * share
    else:
        # All experts of all layers are resident on AVX512 and AMX hosts, whatever lies on GPUs.
        resident = RAWINT4_FULL * routed / GIB
    return _Experts(
        resident=resident, pools=pools_gib(a, defaults.chunked_prefill(r), kt), loading=2 * layer, mapped=mapped
    )


POOL_BASE, POOL_A_NUMA, POOL_TOKENS = 1.3, 2.915, 4096
"""GiB for 4096 tokens of Kimi-K2: once, and for each NUMA node (models.json kt_rawint4)."""
POOL_WIDTH = 8 * (7168 + 2048)


def pools_gib(a: Architecture, chunk: int, kt: Kt) -> float:
    """kt-kernel's activation pools, touched at the first long prefill."""
    width = a.experts_per_token * (a.hidden + a.expert_intermediate)
    return max(1, chunk) / POOL_TOKENS * (POOL_BASE + POOL_A_NUMA * kt.threadpools) * width / POOL_WIDTH
