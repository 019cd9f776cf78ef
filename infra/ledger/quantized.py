"""What a config.json's `quantization_config` means: bytes a parameter, by component."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from hosts.schema import Reader
from infra import precision as precisions
from infra.architecture import CACHED, DENSE, LINEAR, MAMBA, MOE, Architecture
from infra.precision import BF16, FP8_BLOCK, INT4_ZEROS, MXFP4, Precision

MOST_PATTERNS, MOST_NAMES = 64, 100_000
LEAVES: Mapping[str, tuple[str, ...]] = {
    "attention": (
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.o_proj",
        "self_attn.qkv_proj",
        "self_attn.kv_b_proj",
    ),
    "routed": ("mlp.experts.0.gate_proj", "mlp.experts", "mlp.experts.gate_up_proj", "feed_forward.experts"),
    "shared": ("mlp.shared_experts.gate_proj", "mlp.shared_expert.gate_proj", "feed_forward.shared_expert.gate_proj"),
    "dense": ("mlp.gate_proj", "mlp.down_proj", "feed_forward.gate_proj"),
    "linear": ("linear_attn.in_proj_qkvz", "linear_attn.in_proj_qkv", "linear_attn.out_proj", "mixer.in_proj"),
}
"""Names of modules, below a layer's own, that stand for a component; one that is left out leaves all of it out."""
ROOTS = ("model.layers", "language_model.model.layers", "model.language_model.layers", "language_model.layers")


def precision(a: Architecture, config: Reader, *, dtype: str) -> tuple[str, Precision]:
    """(name of the scheme, bytes a parameter) of a model whose `quantization_config` this is."""
    method = config.text("quant_method", default="").lower()
    size, name = _size(config, method)
    if size is None:
        return ("bf16" if dtype == "auto" else dtype), Precision()
    if name == "mxfp4":
        return "mxfp4", Precision(routed=MXFP4)
    left = _left_out(_ignored(config))
    full = Precision(**{part: _mean(a, part, size, left) for part in LEAVES})
    if name == "int4" and full.attention == BF16 and full.dense == BF16:
        name = "compressed-tensors-int4"
    return name, full


def _size(config: Reader, method: str) -> tuple[float | None, str]:
    """Bytes of a quantised weight, and what it is called."""
    if method == "compressed-tensors":
        return _groups(config)
    if method.startswith("modelopt"):
        algorithm = (config.text("quant_algo", default="") or "FP8").upper()
        return SIZES["nvfp4" if "FP4" in algorithm else "fp8"]
    if method == "fp8" and config.raw("weight_block_size"):
        return FP8_BLOCK, "fp8-block"
    if method in ("awq", "gptq", "auto-round") and config.number("bits", default=4, low=2, high=8) == 8:
        return SIZES["int8"]
    if method == "bitsandbytes":
        return SIZES["nf4" if config.raw("load_in_4bit") else "int8"]
    return SIZES.get(method, (None, ""))


SIZES: Mapping[str, tuple[float | None, str]] = {
    "fp8": (1.0, "fp8"),
    "fbgemm_fp8": (1.0, "fp8"),
    "quark": (1.0, "fp8"),
    "awq": (INT4_ZEROS, "awq"),
    "gptq": (INT4_ZEROS, "gptq"),
    "auto-round": (INT4_ZEROS, "gptq"),
    "nvfp4": (precisions.INT4_GROUP_32, "nvfp4"),
    "mxfp4": (MXFP4, "mxfp4"),
    "gpt_oss_mxfp4": (MXFP4, "mxfp4"),
    "int8": (1.0, "int8"),
    "nf4": (0.53, "int4"),
}


def _groups(config: Reader) -> tuple[float | None, str]:
    """The weights of the first group of compressed-tensors."""
    groups = config.raw("config_groups")
    if not isinstance(groups, dict) or not groups:
        packed = config.text("format", default="") == "pack-quantized"
        return (precisions.INT4_GROUP_128, "int4") if packed else SIZES["fp8"]
    first = next(iter(groups.values()))
    weights = first.get("weights") if isinstance(first, dict) else None
    if not isinstance(weights, dict):
        return None, ""
    reader = Reader(weights, config.file, f"{config.path_}.config_groups.*.weights", config.problems)
    bits = reader.number("num_bits", default=8, low=2, high=16)
    floating = reader.text("type", default="int") == "float"
    group = reader.number("group_size", default=0, low=-1)
    if bits == 4 and floating:
        return 0.5 + 1 / max(group, 16), "nvfp4"
    if bits == 4:
        return 0.5 + (2 / group if group > 0 else 0.0), "int4"
    block = reader.text("strategy", default="") == "block"
    return (FP8_BLOCK if block else bits / 8), ("fp8-block" if block else "fp8" if floating else "int8")


def _ignored(config: Reader) -> Iterator[str]:
    """The modules that are not quantised, however the method calls the list."""
    for key in ("ignore", "exclude_modules", "modules_to_not_convert", "ignored_layers"):
        found = config.raw(key)
        if isinstance(found, list):
            yield from (word for word in found[:MOST_NAMES] if isinstance(word, str))


@dataclass(frozen=True, slots=True, kw_only=True)
class _LeftOut:
    names: frozenset[str]
    patterns: tuple[Callable[[str], bool], ...]

    def __call__(self, layer: int, leaf: str) -> bool:
        for root in ROOTS:
            name = f"{root}.{layer}.{leaf}"
            parents = [name[:at] for at in range(len(name)) if name[at] == "."]
            if name in self.names or not self.names.isdisjoint(parents):
                return True
            if any(matches(name) for matches in self.patterns):
                return True
        return leaf in self.names or leaf.partition(".")[0] in self.names


def _left_out(words: Iterator[str]) -> _LeftOut:
    names, patterns = set(), list[Callable[[str], bool]]()
    for word in words:
        if word.startswith("re:") and len(patterns) < MOST_PATTERNS:
            patterns.extend(_pattern(word[3:]))
        elif "*" in word and len(patterns) < MOST_PATTERNS:
            patterns.append(lambda name, glob=word: fnmatchcase(name, glob))  # type: ignore[misc]
        else:
            names.add(word)
    return _LeftOut(names=frozenset(names), patterns=tuple(patterns))


def _pattern(text: str) -> Iterator[Callable[[str], bool]]:
    """A regular expression that can't take for ever: short, few repetitions, none of a group."""
    if len(text) > 200 or len(re.findall(r"[*+{]", text)) > 4 or re.search(r"\)[*+?{]", text):
        return
    try:
        compiled = re.compile(text)
    except re.error:
        return
    yield lambda name: compiled.match(name) is not None


def _mean(a: Architecture, part: str, size: float, left_out: _LeftOut) -> float:
    """Bytes a parameter over all layers that have the component."""
    kinds = {"attention": CACHED, "routed": (MOE,), "shared": (MOE,), "dense": (DENSE,), "linear": (LINEAR, MAMBA)}
    layers = [n for n in range(a.layers) if a.mixer(n) in kinds[part] or a.mlp(n) in kinds[part]]
    if not layers:
        return size
    plain = sum(any(left_out(n, leaf) for leaf in LEAVES[part]) for n in layers)
    return (plain * BF16 + (len(layers) - plain) * size) / len(layers)


def measured(precision_: Precision, parameters: Mapping[str, int], sizes: Mapping[str, int]) -> Precision:
    """The same with what a checkpoint's own headers say, where that can be."""
    names = {
        "routed experts": "routed",
        "shared experts": "shared",
        "dense MLP": "dense",
        "linear attention": "linear",
        "embedding": "embedding",
        "lm_head": "head",
        "attention": "attention",
    }
    found: dict[str, float] = {}
    for component, field in names.items():
        count = parameters.get(component, 0)
        if component == "attention":
            count += parameters.get("attention, replicated", 0)
        size = sizes.get(component, 0)
        if count and 0.25 <= size / count <= 4.2:
            found[field] = size / count
    return replace(precision_, **found)
