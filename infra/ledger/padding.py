"""What vLLM's kernels add to experts so that their sizes suit them, by quantisation and GPU."""

from dataclasses import dataclass

from infra import precision as precisions
from infra.ledger.release import since
from infra.ledger.request import FitRequest

ROCM_ROW_BYTES = 256
"""VLLM_ROCM_MOE_PADDING, which is on: bytes after each row (unquantized_fused_moe_method.py 0.19.1). With it, and
without kv_b's copy, DeepSeek-R1 on MI300X is as far from its logs as on H200 (0.2 %)."""
FLASHINFER_STEP = 128
"""Width of experts without a gate in FlashInfer's FP8 kernels (flashinfer_utils.py 0.19.1); Nemotron 3 has them."""
BLACKWELL = ("b200", "gb200", "b300", "gb300")


@dataclass(frozen=True, slots=True, kw_only=True)
class Padding:
    """Steps that sizes are rounded up to, and bytes after each row."""

    width: int = 1
    hidden: int = 1
    row_bytes: int = 0


def of(r: FitRequest) -> Padding:
    """The padding of a request's experts."""
    if r.engine != "vllm" or not r.model.architecture.experts:
        return Padding()
    scheme = precisions.scheme(r.quantization or r.model.quantization) or ""
    if scheme == "mxfp4":
        return _mxfp4(r)
    if r.gpu.rocm:
        # vLLM's own methods pad, those of compressed-tensors do not.
        return Padding(row_bytes=ROCM_ROW_BYTES if scheme in ("bf16", "fp16", "fp8-block") else 0)
    if scheme == "fp8" and r.model.architecture.mlp_matrices == 2 and since(r.release, "0.17"):
        return Padding(width=FLASHINFER_STEP)
    return Padding()


def _mxfp4(r: FitRequest) -> Padding:
    """By the kernel that a GPU gets (oracle/mxfp4.py 0.19.1)."""
    name = r.gpu.name.lower()
    if r.gpu.rocm or name.startswith(BLACKWELL):
        return Padding(width=256, hidden=256)
    return (
        Padding(width=64)
        if name.startswith(("h100", "h200", "h20", "h800", "gh200"))
        else Padding(width=128, hidden=256)
    )
