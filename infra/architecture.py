"""The numbers of a model that parallelism and memory are computed from, and what kind each of its layers is."""

from dataclasses import dataclass

FULL, SLIDING, CHUNKED, LINEAR, MAMBA, NONE = "A", "S", "C", "L", "M", "-"
"""Mixers: attention over everything, over a window, over chunks; gated delta net; mamba 2; none."""
DENSE, MOE = "D", "E"
MIXERS = (FULL, SLIDING, CHUNKED, LINEAR, MAMBA, NONE)
MLPS = (DENSE, MOE, NONE)
CACHED = (FULL, SLIDING, CHUNKED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One model's numbers. 0 is "as the others say" where the field's comment says what, else "has none".

    `mixers` and `mlps` have one letter a layer (the constants above), "" being the usual: attention everywhere, dense
    MLPs in the first `dense_layers` and experts after them where there are experts.
    """

    layers: int
    dense_layers: int
    hidden: int
    heads: int
    experts: int
    shared_experts: int
    experts_per_token: int
    dense_intermediate: int
    expert_intermediate: int
    q_lora_rank: int
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    vocabulary: int
    context: int
    """Longest sequence in tokens."""
    kv_heads: int = 0
    """0: as many as heads."""
    head_dim: int = 0
    """0: hidden / heads."""
    tied: bool = False
    """Whether lm_head is the embedding."""
    mixers: str = ""
    mlps: str = ""
    window: int = 0
    """Tokens that a sliding layer sees, or a chunk's length."""
    full_kv_heads: int = 0
    """KV heads of full layers where sliding ones have others; 0: `kv_heads`."""
    full_head_dim: int = 0
    """Head size of full layers where sliding ones have another; 0: `head_dim`."""
    values_are_keys: bool = False
    """Whether full layers have no V projection of their own (Gemma 4)."""
    gated_attention: bool = False
    """Whether Q comes with a gate of its own size (Qwen3-Next, Qwen3.5)."""
    mlp_matrices: int = 3
    """3 with a gate, 2 without."""
    shared_intermediate: int = 0
    """Width of all shared experts together; 0: shared_experts * expert_intermediate."""
    expert_hidden: int = 0
    """What routed experts take in where it is not `hidden` (latent experts of Nemotron 3 Super)."""
    index_heads: int = 0
    index_head_dim: int = 0
    """Of the indexer of DeepSeek's sparse attention."""
    linear_key_heads: int = 0
    linear_value_heads: int = 0
    linear_head_dim: int = 0
    mamba_heads: int = 0
    mamba_head_dim: int = 0
    mamba_groups: int = 0
    mamba_state: int = 0
    state_bytes: int = 0
    """Bytes of one number of the recurrent state; 0: as the dtype."""
    conv_kernel: int = 4
    vision_parameters: int = 0
    """Of the vision tower."""
    projector_parameters: int = 0
    vision_sharded: bool = False
    """Whether the engine cuts the tower over tensor ranks unless told not to; else each has a full copy."""
    rope_positions: int = 0
    """Rows of the table of rotary angles that each rank holds; 0: `context`."""
    draft_hidden_layers: int = 0
    """Of an EAGLE draft: hidden states of the target that it takes in together, 3 for EAGLE3."""

    @property
    def mla(self) -> bool:
        """Whether attention keeps one compressed latent a token instead of keys and values."""
        return self.kv_lora_rank > 0

    @property
    def is_draft(self) -> bool:
        """Whether this only drafts for another model."""
        return self.draft_hidden_layers > 0

    @property
    def has_vision(self) -> bool:
        """Whether images can come in."""
        return self.vision_parameters > 0

    @property
    def head_size(self) -> int:
        """Elements of one head of keys."""
        return self.head_dim or (self.hidden // self.heads if self.heads else 0)

    def mixer(self, layer: int) -> str:
        """What mixes tokens in a layer."""
        return self.mixers[layer] if self.mixers else FULL

    def mlp(self, layer: int) -> str:
        """What follows the mixer in a layer."""
        if self.mlps:
            return self.mlps[layer]
        return MOE if self.experts and layer >= self.dense_layers else DENSE

    def layers_of(self, kind: str) -> int:
        """How many layers have that mixer or that MLP."""
        return sum(kind in (self.mixer(n), self.mlp(n)) for n in range(self.layers))

    def kv_heads_of(self, mixer: str) -> int:
        """KV heads of attention layers of that kind."""
        general = self.kv_heads or self.heads
        return (self.full_kv_heads or general) if mixer == FULL else general

    def head_size_of(self, mixer: str) -> int:
        """Head size of attention layers of that kind."""
        return (self.full_head_dim or self.head_size) if mixer == FULL else self.head_size
