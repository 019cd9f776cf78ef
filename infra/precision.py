"""How many bytes one parameter of each part of a model takes, by the name of its quantisation."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

BF16 = 2.0
FP8_BLOCK = 1 + 4 / (128 * 128)
"""e4m3 with one FP32 scale a block of 128 x 128 (engines.md 4.2)."""
INT4_GROUP_32 = 0.5 + 2 / 32
"""Packed INT4 with one BF16 scale for 32 weights; NVFP4 (16 weights, an FP8 scale) comes to the same."""
INT4_GROUP_128 = 0.5 + 2 / 128
INT4_ZEROS = INT4_GROUP_128 + 0.5 / 128
"""AWQ and GPTQ keep a 4-bit zero point a group as well."""
MXFP4 = 0.5 + 1 / 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Bytes a parameter, by component. `dense` are the layers' plain MLPs, `linear` mamba and linear attention."""

    routed: float = BF16
    shared: float = BF16
    dense: float = BF16
    attention: float = BF16
    linear: float = BF16
    embedding: float = BF16
    head: float = BF16
    router: float = BF16
    vision: float = BF16
    plain: float = BF16
    """Norms, and the copies that an engine makes for itself in the dtype of the computation."""


def _linears(size: float) -> Precision:
    """All linear layers at one size; embeddings, lm_head, router and vision stay as they were."""
    return Precision(routed=size, shared=size, dense=size, attention=size, linear=size)


SCHEMES: Mapping[str, Precision] = {
    "bf16": Precision(),
    "fp16": Precision(),
    "fp32": replace(_linears(4.0), embedding=4.0, head=4.0, router=4.0, vision=4.0, plain=4.0),
    "fp8-block": _linears(FP8_BLOCK),
    "fp8": _linears(1.0),
    "int8": _linears(1.0),
    "fp8-attention-bf16": Precision(routed=1.0, shared=1.0, dense=1.0),
    "compressed-tensors-int4": Precision(routed=INT4_GROUP_32),
    "nvfp4": Precision(routed=INT4_GROUP_32),
    "nvfp4-linears": _linears(INT4_GROUP_32),
    "mxfp4": Precision(routed=MXFP4),
    "w4a16": _linears(INT4_GROUP_128),
    "awq": _linears(INT4_ZEROS),
    "gptq": _linears(INT4_ZEROS),
}
"""fp8 and int8: a scale a channel or a tensor, which is nothing beside the weights."""
ALIASES: Mapping[str, str] = {
    "bfloat16": "bf16",
    "none": "bf16",
    "float16": "fp16",
    "half": "fp16",
    "float32": "fp32",
    "float": "fp32",
    "fp8_e4m3": "fp8",
    "modelopt": "fp8",
    "fbgemm_fp8": "fp8",
    "ptpc_fp8": "fp8",
    "int4": "compressed-tensors-int4",
    "modelopt_fp4": "nvfp4",
    "modelopt_mixed": "fp8",
    "awq_marlin": "awq",
    "gptq_marlin": "gptq",
    "w8a8": "int8",
}
METHODS = ("compressed-tensors", "auto", "quark", "bitsandbytes", "moe_wna16", "torchao", "inc")
"""Names of loaders that do not say how many bits: a checkpoint that is quantised keeps what it says itself."""
DTYPE_BYTES: Mapping[str, float] = {
    "auto": BF16,
    "bfloat16": 2.0,
    "bf16": 2.0,
    "float16": 2.0,
    "fp16": 2.0,
    "half": 2.0,
    "float32": 4.0,
    "fp32": 4.0,
    "float": 4.0,
}


def scheme(name: str) -> str | None:
    """The name in `SCHEMES` that a name of a quantisation means, None where it is not known."""
    low = name.lower()
    found = ALIASES.get(low, low)
    return found if found in SCHEMES else None


def of(name: str) -> Precision:
    """The precision of a quantisation by name; an unknown one is taken as not quantised, which is the largest."""
    return SCHEMES[scheme(name) or "bf16"]


def chosen(own: Precision, own_name: str, asked: str) -> Precision:
    """What weights come to when a quantisation is asked for of a model that has one of its own, or none."""
    low = asked.lower()
    if low in METHODS:
        # Of a model that says nothing, 8 bits is what these most often mean.
        return own if scheme(own_name) not in ("bf16", "fp16") or low == "auto" else SCHEMES["fp8"]
    known = scheme(low)
    return SCHEMES[known] if known else own


def in_dtype(precision: Precision, dtype: str) -> Precision:
    """The same with everything that is not quantised in another dtype of computation."""
    size = DTYPE_BYTES.get(dtype.lower(), BF16)
    if size == BF16:
        return precision
    names = ("routed", "shared", "dense", "attention", "linear", "embedding", "head", "router", "vision", "plain")
    changed = {name: size for name in names if getattr(precision, name) == BF16}
    return replace(precision, **changed)
