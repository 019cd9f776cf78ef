"""Which kind each layer of a config.json is: `layer_types`, a family's pattern string, or its rule of every n-th."""

from dataclasses import dataclass

from hosts.schema import Reader
from infra.architecture import CHUNKED, DENSE, FULL, LINEAR, MAMBA, MOE, NONE, SLIDING

TYPES = {
    "full_attention": FULL,
    "attention": FULL,
    "global": FULL,
    "sliding_attention": SLIDING,
    "sliding_window_attention": SLIDING,
    "local_attention": SLIDING,
    "chunked_attention": CHUNKED,
    "linear_attention": LINEAR,
    "mamba": MAMBA,
    "mamba2": MAMBA,
}
NEMOTRON = {"M": (MAMBA, NONE), "*": (FULL, NONE), "-": (NONE, DENSE), "E": (NONE, MOE)}
NEMOTRON_WORDS = {"mamba": "M", "attention": "*", "mlp": "-", "moe": "E"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """One letter a layer, "" for the usual."""

    mixers: str = ""
    mlps: str = ""


def of(text: Reader, family: str, count: int, experts: int) -> Kinds:
    """The kinds of a model's layers."""
    pattern = _blocks(text)
    if pattern is not None:
        if len(pattern) != count:
            text.problem(
                text.at("hybrid_override_pattern"), f"{len(pattern)} blocks", f"one for each of {count} layers"
            )
        found = [NEMOTRON[letter] for letter in pattern]
        return Kinds(mixers="".join(m for m, _ in found), mlps="".join(m for _, m in found))
    return Kinds(mixers=_mixers(text, family, count), mlps=_mlps(text, family, count, experts))


def _blocks(text: Reader) -> str | None:
    """Nemotron's string of blocks, each a mixer or an MLP alone."""
    pattern = text.raw("hybrid_override_pattern")
    if isinstance(pattern, str) and pattern:
        return "".join(letter for letter in pattern if letter in NEMOTRON)
    words = text.raw("layers_block_type")
    if isinstance(words, list) and words and {str(w) for w in words} & {"moe", "mlp"}:
        return "".join(NEMOTRON_WORDS.get(str(word), "*") for word in words)
    return None


def _mixers(text: Reader, family: str, count: int) -> str:
    types = text.raw("layer_types") or text.raw("layers_block_type")
    if isinstance(types, list) and types:
        if len(types) != count:
            text.problem(text.at("layer_types"), f"{len(types)} layers", f"the {count} of num_hidden_layers")
            return ""
        found = "".join(TYPES.get(str(word), FULL) for word in types)
        return found if found.strip(FULL) else ""
    indices = text.raw("attn_layer_indices")
    if isinstance(indices, list) or family == "bamba":
        full = indices if isinstance(indices, list) else []
        return "".join(FULL if n in full else MAMBA for n in range(count))
    return _listed(text, count) or _every(text, family, count)


def _listed(text: Reader, count: int) -> str:
    """Kimi Linear lists the layers of each kind, from 1."""
    kinds = text.raw("linear_attn_config")
    full = kinds.get("full_attn_layers") if isinstance(kinds, dict) else None
    if not isinstance(full, list):
        return ""
    return "".join(FULL if n + 1 in full else LINEAR for n in range(count))


def _every(text: Reader, family: str, count: int) -> str:
    """Families where each n-th layer sees everything and the others do not."""
    model = str(text.data.get("model_type") or family)
    if model.startswith(("qwen3_next", "qwen3_5")):
        step = text.number("full_attention_interval", default=4, low=1)
        return "".join(FULL if (n + 1) % step == 0 else LINEAR for n in range(count))
    if "llama4" in family or "llama4" in model:
        chunk = text.raw("attention_chunk_size")
        return "".join(FULL if (n + 1) % 4 == 0 else CHUNKED for n in range(count)) if chunk else ""
    window = text.raw("sliding_window")
    if not window or text.raw("use_sliding_window") is False:
        return ""
    if model.startswith("gpt_oss"):
        return "".join(FULL if n % 2 else SLIDING for n in range(count))
    step = text.number("sliding_window_pattern", default=6 if model.startswith(("gemma3", "gemma4")) else 0)
    if model.startswith("gemma2"):
        step = 2
    if step > 1:
        return "".join(FULL if (n + 1) % step == 0 else SLIDING for n in range(count))
    return SLIDING * count if model in ("mistral", "mixtral") else ""


def _mlps(text: Reader, family: str, count: int, experts: int) -> str:
    if not experts:
        return ""
    dense: set[int] = set()
    listed = text.raw("mlp_only_layers")
    if isinstance(listed, list):
        dense |= {n for n in listed if isinstance(n, int)}
    types = text.raw("mlp_layer_types")
    if isinstance(types, list):
        dense |= {n for n, word in enumerate(types) if word == "dense"}
    listed = text.raw("moe_layers")
    if isinstance(listed, list) and listed:
        dense |= set(range(count)) - {n for n in listed if isinstance(n, int)}
    step = text.number("decoder_sparse_step", default=1, low=1)
    if "llama4" in family or text.has("interleave_moe_layer_step"):
        step = text.number("interleave_moe_layer_step", default=1, low=1)
    first = text.number("first_k_dense_replace", default=0)
    dense |= {n for n in range(count) if (n + 1) % step or n < first}
    dense |= set(range(text.number("moe_layer_start_index", default=0)))
    return "".join(DENSE if n in dense else MOE for n in range(count)) if dense else ""
