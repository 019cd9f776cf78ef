"""The KV cache of one GPU: bytes a token, blocks as vLLM pools them, and the tokens that its log would print."""

from dataclasses import dataclass
from math import ceil

from infra.architecture import CACHED, CHUNKED, FULL, LINEAR, MAMBA, Architecture
from infra.ledger.release import since
from infra.ledger.weights import Stage, heads_here

FP8_DS_MLA_BYTES = 656
"""A token and layer of DeepSeek's sparse layout (vLLM kv_cache_interface.py, MLAAttentionSpec)."""
INDEXER_BLOCK = 128
ELEMENT_BYTES = {"fp8": 1.0, "int8": 1.0, "fp4": 0.5 + 1 / 16, "nvfp4": 0.5 + 1 / 16, "turboquant": 0.5}


def element_bytes(kv_dtype: str, model_bytes: float) -> float:
    """Bytes of one element of the cache: `auto` is the dtype of the model, any fp8 is one."""
    return next((size for name, size in ELEMENT_BYTES.items() if kv_dtype.lower().startswith(name)), model_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """What decides about the cache of a rank. `ranks` cut the heads, `context_ranks` (DCP) the tokens."""

    ranks: int
    element: float
    kv_dtype: str = "auto"
    block: int = 16
    context_ranks: int = 1
    sequence: int = 1
    """Tokens of the longest sequence."""
    batched_tokens: int = 8192
    state_bytes: float = 2.0
    """Bytes of a number of convolutional state; of recurrent state where the model does not say."""
    shared_blocks: bool = False
    """Whether recurrent state is kept for each block (prefix caching of hybrid models)."""
    release: str = ""


def layer_bytes(a: Architecture, mixer: str, c: Cache) -> float:
    """Bytes of one token in one attention layer on one rank; MLA's latent is whole on each (engines.md 4.3)."""
    if a.mla:
        latent = a.kv_lora_rank + a.qk_rope_head_dim
        size = FP8_DS_MLA_BYTES if c.kv_dtype == "fp8_ds_mla" else latent * c.element
        indexer = a.index_head_dim + a.index_head_dim // INDEXER_BLOCK * 4 if a.index_heads else 0
        return size + indexer
    return 2 * heads_here(a.kv_heads_of(mixer), c.ranks) * a.head_size_of(mixer) * c.element


def token_bytes(a: Architecture, stage: Stage, c: Cache, draft: Architecture | None = None) -> float:
    """Bytes of one token in all attention layers of a stage, sliding ones as if they kept everything."""
    total = sum(layer_bytes(a, a.mixer(n), c) for n in range(stage.first, stage.last) if a.mixer(n) in CACHED)
    if draft and stage.ends:
        total += sum(layer_bytes(draft, draft.mixer(n), c) for n in range(draft.layers))
    return total


def state_bytes(a: Architecture, mixer: str, c: Cache) -> float:
    """Bytes of the state of one sequence in one layer of mamba 2 or linear attention (vLLM mamba_utils.py 0.19.1)."""
    if mixer == LINEAR:
        keys, values = a.linear_key_heads * a.linear_head_dim, a.linear_value_heads * a.linear_head_dim
        conv, state = 2 * keys + values, values * a.linear_head_dim
    else:
        groups = a.mamba_groups if a.mamba_groups % c.ranks == 0 else c.ranks * ceil(a.mamba_groups / c.ranks)
        inner = a.mamba_heads * a.mamba_head_dim
        conv, state = inner + 2 * groups * a.mamba_state, inner * a.mamba_state
    return (conv * (a.conv_kernel - 1) * c.state_bytes + state * (a.state_bytes or c.state_bytes)) / c.ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Layers that share a block table: tokens in one block, blocks that one sequence needs."""

    layers: int
    block: int
    blocks_needed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """vLLM's pool of one stage: every block holds a page of each of `width` layers."""

    groups: tuple[Group, ...]
    block_bytes: float
    context_ranks: int
    sequence: int

    @property
    def sequence_bytes(self) -> float:
        """Bytes of the longest sequence; vLLM refuses to start with less."""
        return self.block_bytes * self._needed

    @property
    def _needed(self) -> int:
        return sum(group.blocks_needed for group in self.groups)

    def tokens(self, budget_bytes: float, release: str) -> int:
        """What vLLM's log prints as the size of the cache: by blocks to 0.19, by longest sequences from 0.20."""
        if not self.groups or budget_bytes <= 0:
            return 0
        blocks = int(budget_bytes // self.block_bytes)
        if since(release, "0.20"):
            return int(blocks / max(1, self._needed) * self.sequence)
        return blocks // len(self.groups) * min(group.block for group in self.groups) * self.context_ranks


def pool(a: Architecture, stage: Stage, c: Cache, draft: Architecture | None = None) -> Pool:
    """The pool that vLLM makes for a stage (v1/core/kv_cache_utils.py 0.19.1): one group, or several of equal pages."""
    kinds = [a.mixer(n) for n in range(stage.first, stage.last)]
    attention = sorted({kind for kind in kinds if kind in CACHED}, key=CACHED.index)
    recurrent = [kind for kind in kinds if kind in (LINEAR, MAMBA)]
    if not recurrent and len(attention) <= 1:
        kind = attention[0] if attention else FULL
        size = token_bytes(a, stage, c, draft)
        only = Group(layers=len(kinds), block=c.block, blocks_needed=_needed(a, kind, c.block, c))
        return _pool((only,) if size else (), size * c.block, c)
    sizes = {kind: layer_bytes(a, kind, c) for kind in attention}
    block = _attention_block(a, recurrent, sizes, c)
    page = max((size * block for size in sizes.values()), default=_state_page(a, recurrent, c))
    counts: list[tuple[int, int, int]] = []  # (layers, tokens a block, blocks that a sequence needs)
    for kind in attention:
        own = int(page // sizes[kind])
        counts.append((kinds.count(kind) + _draft_layers(draft, stage, kind), own, _needed(a, kind, own, c)))
    if recurrent:
        counts.append((len(recurrent), block if c.shared_blocks else c.sequence, 2 if c.shared_blocks else 1))
    width = _width([layers for layers, _, _ in counts], c.release)
    groups = tuple(
        Group(layers=width, block=own, blocks_needed=needed)
        for layers, own, needed in counts
        for _ in range(ceil(layers / width))
    )
    return _pool(groups, page * width, c)


def _pool(groups: tuple[Group, ...], block_bytes: float, c: Cache) -> Pool:
    return Pool(groups=groups, block_bytes=block_bytes, context_ranks=c.context_ranks, sequence=c.sequence)


def _needed(a: Architecture, kind: str, block: int, c: Cache) -> int:
    """Blocks that one layer needs for the longest sequence."""
    if kind == FULL or not a.window:
        return ceil(ceil(c.sequence / c.context_ranks) / block)
    seen = min(c.sequence, a.window - (kind != CHUNKED) + c.batched_tokens)
    return ceil(seen / block) + (kind != CHUNKED)


def _attention_block(a: Architecture, recurrent: list[str], sizes: dict[str, float], c: Cache) -> int:
    """Tokens of a block: where there is recurrent state, as many as make a page at least as large as one state."""
    if not recurrent or not sizes:
        return c.block
    step = 64 if a.mla else 16
    token = min(sizes.values())
    return max(c.block, step * ceil(_state_page(a, recurrent, c) / (step * token)))


def _state_page(a: Architecture, recurrent: list[str], c: Cache) -> float:
    return max((state_bytes(a, kind, c) for kind in set(recurrent)), default=0.0)


def _draft_layers(draft: Architecture | None, stage: Stage, kind: str) -> int:
    return draft.layers if draft and stage.ends and kind == FULL else 0


def _width(counts: list[int], release: str) -> int:
    """Layers in each group: the fewest of a kind, or the most where that pads less (the factor grew in 0.18)."""
    least, most = min(counts), max(counts)
    return most if most < least * (1.5 if since(release, "0.18") else 1.25) else least
