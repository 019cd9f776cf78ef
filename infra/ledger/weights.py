"""Bytes of weights on one GPU by component, under tensor, pipeline, data and expert parallelism (engines.md 4.4)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil

from infra.architecture import CACHED, DENSE, FULL, LINEAR, MAMBA, MOE, NONE, SLIDING, Architecture
from infra.model import Model
from infra.precision import Precision

Parts = Mapping[str, float]
"""Component to bytes."""
ROPE_BYTES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Shards:
    """Over how many ranks each kind of weight is cut; 1 is a full copy on each."""

    attention: int = 1
    experts: int = 1
    whole_experts: bool = False
    """Whether a rank holds whole experts (expert parallelism) instead of a slice of each."""
    shared: int = 1
    dense: int = 1
    embedding: int = 1
    head: int = 1
    vision: int = 1
    experts_here: float = 1.0
    """Share of the routed experts that lies on GPUs at all (KTransformers: the rest is on the host)."""
    redundant_experts: int = 0
    expert_row_pad: int = 0
    """Bytes that the engine adds to each row of the experts' first matrices."""
    expert_step: int = 1
    """What a kernel rounds the width of a rank's experts up to."""
    expert_hidden_step: int = 1
    """And what they take in."""
    absorbs: bool = True
    """Whether MLA's kv_b is kept once more in the form that decoding takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The layers [first, last) of one pipeline stage, and whether it has the embedding and lm_head."""

    first: int
    last: int
    begins: bool = True
    ends: bool = True


def stages(layers: int, pipeline: int, *, extra_last: bool = False) -> tuple[Stage, ...]:
    """The stages of a pipeline.

    vLLM gives what remains to the stages before the last (distributed/utils.py 0.19.1), SGLang to the last ones.
    """
    sizes = [layers // pipeline] * pipeline
    for n in range(layers % pipeline):
        sizes[-1 - n if extra_last else (-2 - n) % pipeline] += 1
    found, first = [], 0
    for n, size in enumerate(sizes):
        found.append(Stage(first=first, last=first + size, begins=n == 0, ends=n == pipeline - 1))
        first += size
    return tuple(found)


def parameters(a: Architecture) -> Mapping[str, int]:
    """Parameters of the whole model, by component."""
    whole = Precision(
        **dict.fromkeys(("routed", "shared", "dense", "attention", "linear"), 1.0),
        **dict.fromkeys(("embedding", "head", "router", "vision", "plain"), 1.0),
    )
    stage = Stage(first=0, last=a.layers)
    found = _sum(item for item in _tensors(a, whole, Shards(), stage) if item[0] not in ENGINE_MADE)
    return {name: round(count) for name, count in found.items()}


def checkpoint_bytes(a: Architecture, precision: Precision) -> int:
    """Bytes of all tensors on disk."""
    stage = Stage(first=0, last=a.layers)
    return round(sum(size for name, size in _tensors(a, precision, Shards(), stage) if name not in ENGINE_MADE))


def per_gpu(model: Model, precision: Precision, shards: Shards, stage: Stage) -> Parts:
    """Bytes on each GPU of a stage, by component."""
    return _sum(_tensors(model.architecture, precision, shards, stage))


def rank_experts(a: Architecture, shards: Shards) -> float:
    """How many experts' worth of weights a rank has in each layer; with whole experts that of the fullest rank."""
    experts = a.experts + shards.redundant_experts
    share = ceil(experts / shards.experts) if shards.whole_experts else experts / shards.experts
    return share * shards.experts_here


def draft_bytes(draft: Model, precision: Precision, shards: Shards, target_hidden: int) -> float:
    """Bytes of a draft on each GPU of the last stage; it takes the target's embedding and has an lm_head of its own."""
    a = draft.architecture
    stage = Stage(first=0, last=a.layers, begins=not a.is_draft)
    size = sum(_sum(_tensors(a, precision, shards, stage)).values())
    # An EAGLE layer sees the embedding and the hidden state side by side; a full projection brings the target's
    # hidden states together.
    fusion = a.draft_hidden_layers * target_hidden * a.hidden * precision.plain
    return size + fusion


ENGINE_MADE = frozenset(("absorbed kv_b", "buffers"))
"""What is in no checkpoint."""


def _sum(items: Iterator[tuple[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for name, size in items:
        total[name] = total.get(name, 0.0) + size
    return total


def _tensors(a: Architecture, p: Precision, s: Shards, stage: Stage) -> Iterator[tuple[str, float]]:
    """(component, bytes on a rank) of everything in a stage."""
    for n in range(stage.first, stage.last):
        yield from _layer(a, p, s, n)
    if stage.begins:
        yield "embedding", a.vocabulary * a.hidden * p.embedding / s.embedding
        if a.has_vision:
            yield "vision", (a.vision_parameters + a.projector_parameters) * p.vision / s.vision
    if stage.ends:
        yield "norms", a.hidden * p.plain
        if not (a.tied and stage.begins):
            yield "lm_head", a.vocabulary * a.hidden * p.head / s.head
    if a.layers_of(FULL) and not a.is_draft:
        yield "buffers", (a.rope_positions or a.context) * _angles(a) * ROPE_BYTES


def _angles(a: Architecture) -> int:
    """Columns of the tables of rotary angles; where sliding layers have heads of another size there are two."""
    if a.mla:
        return a.qk_rope_head_dim
    return a.head_size + (a.full_head_dim if a.layers_of(SLIDING) else 0)


def _layer(a: Architecture, p: Precision, s: Shards, n: int) -> Iterator[tuple[str, float]]:
    mixer, mlp = a.mixer(n), a.mlp(n)
    if mixer in CACHED:
        yield from _mla(a, p, s) if a.mla else _attention(a, p, s, mixer)
    elif mixer in (LINEAR, MAMBA):
        yield "linear attention", _recurrent(a, mixer) * p.linear / s.attention
    if mlp == MOE:
        yield from _experts(a, p, s)
    elif mlp == DENSE:
        yield "dense MLP", a.mlp_matrices * a.hidden * a.dense_intermediate * p.dense / s.dense
    blocks = (mixer != NONE) + (mlp != NONE)
    latent = a.q_lora_rank + a.kv_lora_rank if mixer in CACHED else 0
    yield "norms", (blocks * a.hidden + latent) * p.plain


def _attention(a: Architecture, p: Precision, s: Shards, mixer: str) -> Iterator[tuple[str, float]]:
    """Grouped-query attention: Q and O are cut by heads, a rank keeps at least one KV head."""
    size, kv = a.head_size_of(mixer), a.kv_heads_of(mixer)
    wide = 2 * a.hidden if a.is_draft else a.hidden
    yield "attention", wide * a.heads * size * (2 if a.gated_attention else 1) * p.attention / s.attention
    yield "attention", a.heads * size * a.hidden * p.attention / s.attention
    kinds = 1 if a.values_are_keys and mixer == FULL else 2
    yield "attention", kinds * wide * heads_here(kv, s.attention) * size * p.attention


def _mla(a: Architecture, p: Precision, s: Shards) -> Iterator[tuple[str, float]]:
    """Multi-head latent attention: q_a and kv_a whole on each rank, the rest by heads; kv_b once more, absorbed."""
    wide = 2 * a.hidden if a.is_draft else a.hidden
    query = a.heads * (a.qk_nope_head_dim + a.qk_rope_head_dim)
    yield "attention, replicated", wide * (a.q_lora_rank + a.kv_lora_rank + a.qk_rope_head_dim) * p.attention
    kv_b = a.kv_lora_rank * a.heads * (a.qk_nope_head_dim + a.v_head_dim)
    rest = (a.q_lora_rank or wide) * query + kv_b + a.heads * a.v_head_dim * a.hidden
    yield "attention", rest * p.attention / s.attention
    if s.absorbs:
        yield "absorbed kv_b", kv_b * p.plain / s.attention
    if a.index_heads:
        indexer = a.index_head_dim * (a.q_lora_rank * a.index_heads + a.hidden) + a.hidden * a.index_heads
        yield "attention, replicated", indexer * p.attention


def _experts(a: Architecture, p: Precision, s: Shards) -> Iterator[tuple[str, float]]:
    """The experts of a layer, their router and the shared ones."""
    hidden = a.expert_hidden or a.hidden
    # A slice is rounded up for itself: how many whole experts' worth that is.
    slices = 1 if s.whole_experts else s.experts
    width = slices * _rounded(a.expert_intermediate / slices, s.expert_step)
    one = a.mlp_matrices * _rounded(hidden, s.expert_hidden_step) * width
    rows = (a.mlp_matrices - 1) * width
    yield "routed experts", rank_experts(a, s) * (one * p.routed + rows * s.expert_row_pad)
    if a.expert_hidden:
        yield "router", 2 * a.hidden * a.expert_hidden * p.dense
    yield "router", (a.hidden + 1) * a.experts * p.router
    shared = a.shared_intermediate or a.shared_experts * a.expert_intermediate
    if shared:
        yield "shared experts", a.mlp_matrices * a.hidden * shared * p.shared / s.shared


def _rounded(size: float, step: int) -> float:
    return ceil(size / step) * step if step > 1 else size


def _recurrent(a: Architecture, mixer: str) -> int:
    """Parameters of one layer of linear attention (gated delta net) or mamba 2."""
    if mixer == LINEAR:
        keys, values = a.linear_key_heads * a.linear_head_dim, a.linear_value_heads * a.linear_head_dim
        return (
            a.hidden * (2 * keys + 2 * values + 2 * a.linear_value_heads)
            + (2 * keys + values) * a.conv_kernel
            + values * a.hidden
        )
    inner = a.mamba_heads * a.mamba_head_dim
    states = 2 * a.mamba_groups * a.mamba_state
    return a.hidden * (2 * inner + states + a.mamba_heads) + (inner + states) * a.conv_kernel + inner * a.hidden + inner


def heads_here(heads: int, ranks: int) -> int:
    """Heads of one rank; where there are fewer than ranks they are repeated."""
    return max(1, ceil(heads / ranks))
