"""Expert parallelism on CPUs: the CPU build's kernel takes an expert's number for its place among those of its rank."""

from typing import Any


def register() -> None:
    """A general plugin of vLLM's, run in each of its processes: experts of other ranks get weight 0, and no crash."""
    from vllm.model_executor.layers.fused_moe.cpu_fused_moe import (  # type: ignore[import-not-found]  # noqa: PLC0415
        CPUFusedMOE,
    )

    kernel = CPUFusedMOE.forward_grouped_gemm

    def on_this_rank(self: Any, layer: Any, tokens: Any, weights: Any, ids: Any, *rest: Any) -> Any:  # noqa: ANN401
        if layer.expert_map is not None:
            local = layer.expert_map[ids.long()]
            weights, ids = weights.masked_fill(local < 0, 0), local.clamp(min=0).to(ids.dtype)
        return kernel(self, layer, tokens, weights, ids, *rest)

    CPUFusedMOE.forward_grouped_gemm = on_this_rank
