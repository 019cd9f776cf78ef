"""What vLLM keeps beside weights and KV cache: the peak of its profile run, what lies outside torch, and graphs.

The structure is vLLM's (v1/worker/gpu_worker.py 0.19.1): it runs one forward pass of `max_num_batched_tokens` and
one sampling of `max_num_seqs` sequences, and takes the larger peak and what grew outside of torch off its budget. Five
numbers are fitted to start-up logs (bench/ledger.py prints what remains); they are the constants below.
"""

from dataclasses import dataclass

from infra.architecture import DENSE, LINEAR, MOE, Architecture
from infra.ledger.release import since

GIB = 1 << 30
SAMPLER_BYTES_SORTING = 34
"""Bytes for each sequence and vocabulary entry while logits are sorted for top-k and top-p, in releases before 0.17.

They are logits in BF16 and FP32, sorted values and indices, the sort's own copies of both, and a softmax. One by one
they come to 38 with torch 2.11 on a H200, at any vocabulary (14 without the sort); logs are met by 34 and 12.
"""
SAMPLER_BYTES = 12
"""The same without a sort, which a kernel of its own replaced by 0.17.1."""
BASE_GIB = 0.75
"""Code of kernels, cuBLAS and Triton, which torch does not see [fitted: H200, one GPU]."""
ROCM_BASE_GIB = 1.75
VISION_GIB = 0.4
"""Outputs of the vision encoder for the longest prompt [fitted: the mean of five models]."""
LINEAR_GIB = 0.6
"""Workspaces of linear attention [fitted: Qwen3.5, Qwen3-Coder-Next]."""
NCCL_GIB, NCCL_GIB_A_PEER = 0.91, 0.06
GRAPHS_GIB = 1.0
"""Median that logs of 0.17.1 and later print on CUDA; taken off the budget from 0.21 (vLLM's own message)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What decides about it, besides the model. `ranks` is the tensor size."""

    release: str
    rocm: bool = False
    ranks: int = 1
    peers: int = 1
    """Ranks that exchange activations: the tensor ranks, and with experts all replicas too."""
    sequences: int = 1024
    batched_tokens: int = 8192
    vision: bool = False
    eager: bool = False


def activations_gib(a: Architecture, load: Load) -> float:
    """The peak of the profile run."""
    per_entry = SAMPLER_BYTES if since(load.release, "0.17") else SAMPLER_BYTES_SORTING
    sampling = load.sequences * a.vocabulary * per_entry / GIB
    extra = (VISION_GIB if load.vision else 0.0) + (LINEAR_GIB if a.layers_of(LINEAR) else 0.0)
    return max(sampling, forward_gib(a, load)) + extra


def forward_gib(a: Architecture, load: Load) -> float:
    """The peak of a forward pass: a few hidden states, and the widest MLP's intermediates, in BF16."""
    width = 4 * a.hidden
    dense = 3 * a.dense_intermediate / load.ranks if a.layers_of(DENSE) else 0.0
    experts = 0.0
    if a.layers_of(MOE):
        # A slice of each expert, or the share of the tokens that goes to a rank's whole experts: about the same.
        inner = a.expert_intermediate / load.ranks
        experts = a.experts_per_token * (max(2 * inner, a.expert_hidden or a.hidden) + inner)
    return 2 * load.batched_tokens * (width + max(dense, experts)) / GIB


def outside_gib(load: Load) -> float:
    """What grows outside of torch: kernels, and the collectives' buffers."""
    if load.rocm:
        # RCCL's buffers grow with pairs of peers [fitted: 0.5 at 4, 2.5 at 8].
        return ROCM_BASE_GIB + (0.04 * min(load.peers, 8) ** 2 if load.peers > 1 else 0.0)
    return BASE_GIB + collectives_gib(load)


def collectives_gib(load: Load) -> float:
    """NCCL's channels to each peer of the node, and from 0.17.1 fixed workspaces of the fused all-reduce [fitted]."""
    if load.peers <= 1:
        return 0.0
    fixed = 1.7 if since(load.release, "0.17") else 0.35
    return fixed + 0.075 * (min(load.peers, 8) - 1)


def nccl_gib(load: Load) -> float:
    """What NCCL takes at its first collective: 0.91 GiB of two H200 measured; more peers, more channels [assumed]."""
    return NCCL_GIB + NCCL_GIB_A_PEER * (min(load.peers, 8) - 2) if load.peers > 1 else 0.0


def graphs_gib(load: Load) -> float:
    """CUDA graphs where the engine takes them off its budget; before, and on ROCm, they must fit outside it."""
    inside = since(load.release, "0.21") and not load.rocm and not load.eager
    return GRAPHS_GIB if inside else 0.0
