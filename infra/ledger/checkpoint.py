"""Bytes of the safetensors beside a config.json, by component: from the index and the headers, never from the data."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MAX_INDEX_BYTES = 64 << 20
MAX_HEADER_BYTES = 100 << 20
MAX_SHARDS = 4096
INDEX = "model.safetensors.index.json"
COMPONENTS = (
    ("vision", r"vision|visual|mm_projector|multi_modal_projector|merger"),
    ("lm_head", r"(^|\.)lm_head\."),
    ("embedding", r"embed_tokens|\bwte\b|embeddings\.weight"),
    ("routed experts", r"\.experts\b"),
    ("shared experts", r"shared_expert"),
    ("router", r"(mlp|moe|mixer|block_sparse_moe|feed_forward)\.(gate|router)\b"),
    ("linear attention", r"linear_attn|\.mamba|mixer\.(in_proj|out_proj|conv1d|A_log|D|dt_bias|norm)"),
    ("attention", r"self_attn|\.attn\.|attention\b|mixer\.[qkvo]_proj"),
    ("norms", r"norm"),
    ("dense MLP", r"\.mlp\.|feed_forward|mixer\.(up|down)_proj"),
)
"""The first pattern that a tensor's name has decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """0 and empty where there is none, or not all of it."""

    total_bytes: int = 0
    by_component: Mapping[str, int] = field(default_factory=dict)


def read(folder: Path) -> Checkpoint:
    """What lies in a folder. A file that can't be read as one counts as not there."""
    index = _index(folder)
    shards = sorted({str(name) for name in index.get("weight_map", {}).values()}) if index else ["model.safetensors"]
    total = index.get("metadata", {}).get("total_size", 0) if index else 0
    sizes: dict[str, int] = {}
    for name in shards[:MAX_SHARDS]:
        header = _header(folder / name) if re.fullmatch(r"[\w.-]+\.safetensors", name) else None
        if header is None:
            return Checkpoint(total_bytes=total if isinstance(total, int) and 0 < total < 1 << 60 else 0)
        for tensor, size in _tensors(header):
            component = _component(tensor)
            sizes[component] = sizes.get(component, 0) + size
    return Checkpoint(total_bytes=sum(sizes.values()), by_component=sizes)


def _index(folder: Path) -> dict[str, dict[str, object]]:
    try:
        path = folder / INDEX
        if path.stat().st_size > MAX_INDEX_BYTES:
            return {}
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    whole = isinstance(found, dict) and all(isinstance(found.get(key), dict) for key in ("metadata", "weight_map"))
    return found if whole else {}


def _header(path: Path) -> dict[str, object] | None:
    """The JSON at the head of a shard."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= MAX_HEADER_BYTES:
                return None
            found = json.loads(file.read(length))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _tensors(header: Mapping[str, object]) -> Iterator[tuple[str, int]]:
    for name, entry in header.items():
        offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
        if isinstance(offsets, list) and len(offsets) == 2 and all(isinstance(at, int) for at in offsets):
            yield name, max(0, offsets[1] - offsets[0])


def _component(tensor: str) -> str:
    return next((name for name, pattern in COMPONENTS if re.search(pattern, tensor)), "norms")
