"""Parameters of a vision tower and its projector from a config.json's `vision_config`, by family."""

from collections.abc import Callable
from dataclasses import dataclass

from hosts.schema import Reader

SHARDED = (
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "qwen3_vl_moe",
    "qwen3_5",
    "qwen3_5_moe",
    "qwen3_omni_moe",
    "glm4v",
    "glm4v_moe",
    "internvl",
    "internvl_chat",
    "gemma3",
)
"""Families whose tower vLLM cuts over tensor ranks by default; elsewhere logs show a full copy on each rank."""
GATED = ("pixtral", "mistral3", "qwen2_5_vl", "glm4v", "glm4v_moe", "gemma4")
MROPE = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe", "glm4v", "glm4v_moe")
"""Families whose table of rotary angles has four times as many rows (vLLM's MRotaryEmbedding)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tower:
    """One tower: its own parameters, and those of what leads into the text model."""

    parameters: int = 0
    projector: int = 0


def tower(vision: Reader, family: str, text_hidden: int) -> Tower:
    """The tower of that family; what the file does not say is as most have it."""

    def number(*names: str, default: int = 0) -> int:
        key = next((name for name in names if vision.has(name)), names[0])
        value = vision.data.get(key)
        if isinstance(value, list) and value and isinstance(value[0], int):  # [14, 14]
            return value[0]
        return vision.number(key, default=default, high=1 << 24)

    hidden = number("vt_hidden_size", "hidden_size", "embed_dim", "width")
    layers = number("vt_num_hidden_layers", "num_hidden_layers", "depth", "layers")
    if not hidden or not layers:
        return Tower()
    inner = number("vt_intermediate_size", "intermediate_size", default=int(hidden * _ratio(vision)))
    patch = number("patch_size", default=14)
    matrices = 3 if family in GATED or vision.data.get("model_type") in GATED else 2
    blocks = layers * (4 * hidden * hidden + matrices * hidden * inner + 6 * hidden + 2 * inner)
    blocks -= layers * (2 * hidden + 2 * inner) if matrices == 3 else 0
    image = 3 * patch * patch * number("temporal_patch_size", default=1) * hidden
    positions = _positions(vision, number, patch) * hidden
    merge = number("spatial_merge_size", default=0)
    out = number("out_hidden_size", default=text_hidden) or text_hidden
    wide = hidden * (merge or 2) ** 2
    own, leads_in = blocks + image + positions, hidden * text_hidden
    if family.startswith("glm4v"):
        # Its blocks are as wide inside as what they give out; the width that the file names is the merger's.
        own += layers * (3 * hidden * out - 3 * hidden * inner) + wide * out + out * out + 3 * out * inner
        leads_in = 0
    elif family.startswith("qwen"):
        extra = vision.raw("deepstack_visual_indexes")
        mergers = 1 + (len(extra) if isinstance(extra, list) else 0)
        own, leads_in = own + mergers * (wide * wide + wide * out + wide + out), 0
    elif family.startswith("kimi"):
        leads_in = wide * wide + wide * text_hidden
    elif family == "mistral3":
        leads_in = wide * hidden + hidden * text_hidden + text_hidden * text_hidden
    elif family == "llama4":
        adapter = number("projector_input_dim", default=4096)
        own, leads_in = own + inner * adapter + adapter * adapter, adapter * text_hidden
    return Tower(parameters=own, projector=leads_in)


def _ratio(vision: Reader) -> float:
    found = vision.raw("mlp_ratio")
    return float(found) if isinstance(found, int | float) and 0 < found < 64 else 4.0


def _positions(vision: Reader, number: Callable[..., int], patch: int) -> int:
    """Rows of a learned position embedding."""
    rows = number("num_position_embeddings", "position_embedding_size")
    if rows:
        return rows
    high, wide = number("init_pos_emb_height"), number("init_pos_emb_width")
    if high and wide:
        return high * wide
    image = vision.data.get("image_size")
    if isinstance(image, int) and vision.data.get("model_type") != "pixtral" and patch:
        return (image // patch) ** 2 + 1
    return 0
