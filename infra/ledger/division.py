"""How each engine divides a GPU's memory between weights, work and KV cache: by its own arithmetic."""

from collections.abc import Mapping
from dataclasses import dataclass

from infra.architecture import LINEAR, MAMBA, Architecture
from infra.ledger import defaults, kv, overhead, padding, weights
from infra.ledger.kv import Cache, Pool
from infra.ledger.overhead import Load
from infra.ledger.request import AUTO, KT_ENGINES, FitRequest
from infra.ledger.weights import Shards, Stage
from infra.precision import DTYPE_BYTES

GIB = 1 << 30
CONTEXT_GIB = 0.51
"""A CUDA context (reference/hardware)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """One GPU of one pipeline stage, in GiB; `usable` is what the engine allows itself, `kv` below 0 what it lacks."""

    stage: int
    usable: float
    weights: Mapping[str, float]
    activations: float
    other: float
    kv: float
    tokens: int
    sequence_gib: float
    """KV of one sequence of the longest length."""
    token_bytes: float
    outside: float
    """What the engine leaves alone."""
    draft_outside: float = 0.0
    """A draft and its cache, where they have to live in that."""

    @property
    def weights_gib(self) -> float:
        """All weights."""
        return sum(self.weights.values())


def divide(r: FitRequest) -> Division:
    """The fullest GPU: that of the stage with room for the fewest tokens."""
    extra_last = r.engine not in ("vllm", "trtllm")
    all_stages = weights.stages(r.model.architecture.layers, r.pipeline, extra_last=extra_last)
    found = [_stage(r, n, stage) for n, stage in enumerate(all_stages)]
    return min(found, key=lambda d: (d.kv - d.sequence_gib, d.tokens) if d.kv <= 0 else (0.0, d.tokens))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What a stage holds whatever the engine, in GiB; `draft` where it is not counted among the weights."""

    stage: Stage
    weights: Mapping[str, float]
    draft: float
    cache: Cache
    pool: Pool
    load: Load
    activations: float

    @property
    def all_weights(self) -> float:
        return sum(self.weights.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Room:
    """What an engine makes of it; `tokens` as its log prints them."""

    usable: float
    activations: float
    other: float
    kv: float
    tokens: int


def _stage(r: FitRequest, index: int, stage: Stage) -> Division:
    parts = dict(_weights(r, stage))
    draft = 0.0 if _counts_draft(r) else parts.pop("draft", 0.0)
    cache, load, drafting = cache_of(r), load_of(r), _draft(r)
    held = _Held(
        stage=stage,
        weights=parts,
        draft=draft,
        cache=cache,
        pool=kv.pool(r.model.architecture, stage, cache, drafting),
        load=load,
        activations=overhead.activations_gib(r.model.architecture, load),
    )
    room = {"vllm": _vllm, "trtllm": _trtllm}.get(r.engine, _sglang)(r, held)
    token = kv.token_bytes(r.model.architecture, stage, cache, drafting)
    return Division(
        stage=index,
        usable=room.usable,
        weights=parts,
        activations=room.activations,
        other=room.other,
        kv=room.kv,
        tokens=room.tokens,
        sequence_gib=_sequence_gib(r, held),
        token_bytes=token,
        draft_outside=draft + _draft_cache_gib(r, held, room.tokens),
        outside=r.gpu.total_gib - room.usable,
    )


def _vllm(r: FitRequest, held: _Held) -> _Room:
    """A share of the GPU, less weights, the peak of its profile run and what grew outside of torch."""
    other = overhead.outside_gib(held.load) + overhead.graphs_gib(held.load)
    taken = held.all_weights + held.activations + other
    usable = taken + r.kv_cache_gib if r.kv_cache_gib else defaults.utilization(r) * r.gpu.total_gib
    room = usable - taken
    tokens = held.pool.tokens(room * GIB, r.release)
    return _Room(usable=usable, activations=held.activations, other=other, kv=room, tokens=tokens)


def _trtllm(r: FitRequest, held: _Held) -> _Room:
    """A share of what is free once weights are loaded and a forward pass was tried."""
    other = CONTEXT_GIB + overhead.nccl_gib(held.load)
    taken = held.all_weights + held.activations + other
    room = defaults.utilization(r) * (r.gpu.total_gib - taken)
    usable, tokens = taken + max(room, 0.0), _whole_blocks(room, held.pool, held.cache)
    return _Room(usable=usable, activations=held.activations, other=other, kv=room, tokens=tokens)


def _sglang(r: FitRequest, held: _Held) -> _Room:
    """A share of what was free before loading, less weights; the rest is for activations, graphs and the draft."""
    before = r.gpu.total_gib - CONTEXT_GIB - overhead.nccl_gib(held.load)
    share = defaults.utilization(r)
    room = share * before - held.all_weights
    return _Room(
        usable=share * r.gpu.total_gib,
        activations=0.0,
        other=share * (r.gpu.total_gib - before),
        kv=room,
        tokens=_sglang_tokens(r, held, room),
    )


def _counts_draft(r: FitRequest) -> bool:
    """SGLang loads its draft, with a cache of its own, after it has divided the memory."""
    return r.engine in ("vllm", "trtllm")


def _draft(r: FitRequest) -> Architecture | None:
    return r.draft.architecture if r.draft and _counts_draft(r) else None


def _draft_cache_gib(r: FitRequest, held: _Held, tokens: int) -> float:
    if r.draft is None or _counts_draft(r) or not held.stage.ends:
        return 0.0
    a = r.draft.architecture
    return tokens * kv.token_bytes(a, Stage(first=0, last=a.layers), held.cache) / GIB


def _weights(r: FitRequest, stage: Stage) -> Mapping[str, float]:
    """GiB by component."""
    shards = shards_of(r)
    found = {n: size / GIB for n, size in weights.per_gpu(r.model, r.precision, shards, stage).items() if size}
    if r.language_only:
        found.pop("vision", None)
    if r.draft and stage.ends:
        drafting = r.draft.bytes_by_component
        found["draft"] = weights.draft_bytes(r.draft, drafting, shards, r.model.architecture.hidden) / GIB
    return found


def shards_of(r: FitRequest) -> Shards:
    """Over how many ranks the engine cuts each kind of weight."""
    a, ranks = r.model.architecture, r.tensor * r.data
    shared_out = ranks if r.engine == "vllm" or r.dp_attention else r.tensor
    whole_tower = not a.vision_sharded if r.data_encoder is None else r.data_encoder
    tensor = ranks if r.dp_attention else r.tensor
    dense, embedding, head, shared = tensor, tensor, tensor, 1 if r.whole_shared else tensor
    if r.dp_attention:
        # SGLang cuts the embedding over the ranks of one replica of attention, lm_head over all unless told otherwise.
        embedding = r.tensor if r.engine != "trtllm" else tensor
        head = r.tensor if r.attention_head else tensor
        dense = r.dense_tensor or tensor
    here = 1.0
    if r.engine in KT_ENGINES and r.kt and a.experts:
        here = min(1.0, r.kt.gpu_experts / a.experts)
    pad = padding.of(r)
    return Shards(
        attention=r.tensor,
        experts=shared_out,
        whole_experts=r.expert,
        shared=shared,
        dense=dense,
        embedding=embedding,
        head=head,
        vision=1 if whole_tower else r.tensor,
        experts_here=here,
        redundant_experts=r.redundant_experts,
        expert_row_pad=pad.row_bytes,
        expert_step=pad.width,
        expert_hidden_step=pad.hidden,
        absorbs=not r.gpu.rocm,
    )


def cache_of(r: FitRequest) -> Cache:
    """What decides about the KV cache of a rank."""
    size = DTYPE_BYTES.get(r.dtype.lower(), 2.0)
    return Cache(
        ranks=r.tensor,
        element=kv.element_bytes(r.kv_dtype, size),
        kv_dtype=r.kv_dtype,
        block=defaults.block_tokens(r),
        context_ranks=r.decode_context,
        sequence=defaults.sequence(r),
        batched_tokens=defaults.batched_tokens(r),
        state_bytes=size,
        shared_blocks=bool(r.prefix_caching),
        release=r.release,
    )


def load_of(r: FitRequest) -> Load:
    """What decides about activations and the rest."""
    return Load(
        release=r.release if r.engine == "vllm" else "",
        rocm=r.gpu.rocm,
        ranks=r.tensor,
        peers=r.tensor * (r.data if r.model.architecture.experts else 1),
        sequences=min(defaults.sequences(r), defaults.batched_tokens(r)),
        batched_tokens=defaults.batched_tokens(r),
        vision=r.model.architecture.has_vision and not r.language_only,
        eager=r.eager,
    )


def _whole_blocks(room_gib: float, pool: Pool, cache: Cache) -> int:
    return int(room_gib * GIB // pool.block_bytes) * cache.block if room_gib > 0 and pool.block_bytes else 0


SGLANG_MAMBA_SHARE = 0.9
"""`--mamba-full-memory-ratio`: recurrent state over KV cache."""


def _sglang_tokens(r: FitRequest, held: _Held, room_gib: float) -> int:
    """`max_total_num_tokens` as SGLang's log prints it (model_runner_kv_cache_mixin.py 0.5.9)."""
    a, cache = r.model.architecture, held.cache
    cell = kv.token_bytes(a, held.stage, cache) / cache.context_ranks
    room = room_gib * GIB
    if a.layers_of(MAMBA) or a.layers_of(LINEAR):
        room /= 1 + SGLANG_MAMBA_SHARE
    if room <= 0 or not cell:
        return 0
    found = int(room // cell) // cache.block * cache.block
    return min(found, r.most_tokens) if r.most_tokens else found


def _sequence_gib(r: FitRequest, held: _Held) -> float:
    """KV of the longest sequence; what an engine that was told `auto` needs is one block."""
    if r.max_model_len == AUTO:
        return held.pool.block_bytes / GIB
    if r.engine == "vllm":
        return held.pool.sequence_bytes / GIB
    cell = kv.token_bytes(r.model.architecture, held.stage, held.cache, _draft(r))
    return cell * held.cache.sequence / held.cache.context_ranks / GIB
