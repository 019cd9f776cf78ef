"""What an engine's release takes where an option is not given."""

from infra.ledger.release import since
from infra.ledger.request import AUTO, FitRequest

LARGE_GIB = 70
"""vLLM's border between its defaults for large and small GPUs (engine/arg_utils.py 0.19.1); an A100 counts as small."""
HUGE_GIB = 160
"""And from some release after 0.22.1 (seen in 0.33.0) another one."""
TRTLLM_FRACTION = 0.9


def utilization(r: FitRequest) -> float:
    """vLLM's gpu-memory-utilization, SGLang's mem-fraction-static, TensorRT-LLM's free-gpu-memory-fraction."""
    if r.utilization:
        return r.utilization
    if r.engine == "vllm":
        return _from_table(r.engine, r.release, "--gpu-memory-utilization") or (
            0.92 if since(r.release, "0.20") else 0.9
        )
    return TRTLLM_FRACTION if r.engine == "trtllm" else mem_fraction_static(r)


def _from_table(engine: str, release: str, flag: str) -> float | None:
    from infra.flags import table  # noqa: PLC0415 - read only where the option was not given

    if release not in table.releases(engine):
        return None
    found = table.load(engine, release).flags.get(flag)
    try:
        return float(found.default) if found and found.default else None
    except ValueError:
        return None


def sequences(r: FitRequest) -> int:
    """Sequences in one batch: for vLLM what it samples at once in its profile run."""
    if r.max_num_seqs:
        return r.max_num_seqs
    return 1024 if _large(r) else 256


def batched_tokens(r: FitRequest) -> int:
    """Tokens of one forward pass."""
    if r.max_num_batched_tokens > 0:
        return r.max_num_batched_tokens
    if r.engine != "vllm":
        return chunked_prefill(r)
    if since(r.release, "0.23") and r.gpu.total_gib >= HUGE_GIB:
        return 16384
    return 8192 if _large(r) else 2048


def _large(r: FitRequest) -> bool:
    return r.gpu.total_gib >= LARGE_GIB and "a100" not in r.gpu.name.lower()


def block_tokens(r: FitRequest) -> int:
    """Tokens of a block of KV: 64 with MLA on NVIDIA's GPUs, else 16; SGLang's pages are single tokens."""
    if r.block_size:
        return r.block_size
    if r.engine == "trtllm":
        return 32
    if r.engine != "vllm":
        return 1
    return 64 if r.model.architecture.mla and not r.gpu.rocm else 16


def sequence(r: FitRequest) -> int:
    """Tokens of the longest sequence; one block where the engine chooses it itself."""
    return block_tokens(r) if r.max_model_len == AUTO else r.context


SGLANG_SIZES = (
    (20, 2048, 8, 8),
    (35, 2048, 24, 80),
    (60, 4096, 32, 160),
    (160, 8192, 256, 512),
    (1 << 20, 16384, 512, 512),
)
"""(GPUs below this many GiB, chunked prefill, largest graph batch below tp 4, from tp 4): server_args.py 0.5.9."""


def _sglang(r: FitRequest) -> tuple[int, int]:
    memory = r.gpu.total_gib * SMI_GIB
    _, chunk, few, many = next(row for row in SGLANG_SIZES if memory < row[0])
    return chunk, few if _engine_tensor(r) < 4 else many


VISION_SHARE = 0.95
"""Of a tower about the size of ViT-L, which is what SGLang takes Kimi's for: it does not know its field names."""
SMI_GIB = 143771 / 1024 / 139.80
"""SGLang asks nvidia-smi, which says a little more than torch (reference/hardware)."""


def _engine_tensor(r: FitRequest) -> int:
    return r.tensor * r.data if r.dp_attention else r.tensor


def chunked_prefill(r: FitRequest) -> int:
    """SGLang's chunk of a prefill in tokens."""
    if r.max_num_batched_tokens > 0:
        return r.max_num_batched_tokens
    if r.kt and r.kt.chunked_prefill:
        return r.kt.chunked_prefill
    return _sglang(r)[0]


def mem_fraction_static(r: FitRequest) -> float:
    """SGLang's own choice: what it reserves in MiB for metadata, prefill, graphs and ranks (server_args.py 0.5.9)."""
    memory = r.gpu.total_gib * SMI_GIB * 1024
    graph = min(_sglang(r)[1], r.max_num_seqs or 1 << 20)
    reserved = 512 + max(chunked_prefill(r), 2048) * 1.5 + graph * 2 + _engine_tensor(r) * r.pipeline / 8 * 1024
    if r.dp_attention:
        reserved += graph * r.data * (4.5 if graph > 300 else 3)
    if memory > 60 * 1024:
        reserved = max(reserved, 10 * 1024)
    if r.draft:
        reserved += 2 * 1024
    share = round((memory - reserved) / memory, 3)
    vision = r.model.architecture.has_vision and not r.language_only
    return share * (VISION_SHARE if vision else 1.0)
