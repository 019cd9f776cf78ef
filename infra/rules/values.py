"""Values that an engine's parser lets pass and its start refuses."""

import json
from collections.abc import Iterator

from infra.flags.near import nearest_value
from infra.rules.rule import SGLANG, TRTLLM, VLLM, Breach, Rule
from infra.rules.subject import Subject

GRAPH_MODES = ("NONE", "PIECEWISE", "FULL", "FULL_DECODE_ONLY", "FULL_AND_PIECEWISE")
LOG_LEVELS = ("debug", "error", "info", "internal_error", "trace", "verbose", "warning")
_EXTRA = "hicache-storage-backend-extra-config"


def _graph_mode(s: Subject) -> Iterator[Breach]:
    mode = (s.mapping("compilation-config") or {}).get("cudagraph_mode")
    if isinstance(mode, str) and "$" not in mode and mode.upper() not in GRAPH_MODES:
        near = nearest_value(mode.upper(), GRAPH_MODES)
        yield Breach(
            options=("compilation-config",),
            found=f"cudagraph_mode {mode!r}",
            wanted=f"one of {', '.join(GRAPH_MODES)}",
            fix=f"write {near}" if near else None,
            edit=s.rewritten("compilation-config", cudagraph_mode=near) if near else None,
        )


def _storage_config(s: Subject) -> Iterator[Breach]:
    text = s.text(_EXTRA)
    if not text or text.startswith("@") or "$" in text or "hicache-storage-backend" not in s.options:
        return
    if text.endswith((".json", ".toml", ".yaml", ".yml")):
        yield Breach(options=(_EXTRA,), found=text, wanted="a JSON object, or @FILE", fix=f"write @{text}")
        return
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        yield Breach(options=(_EXTRA,), found=text[:60], wanted="a JSON object", why=f"it is no JSON: {error}")
        return
    if not isinstance(value, dict):
        yield Breach(options=(_EXTRA,), found=text[:60], wanted="a JSON object")


def _log_level(s: Subject) -> Iterator[Breach]:
    level = s.text("log_level")
    near = nearest_value(level, LOG_LEVELS) if level and level not in LOG_LEVELS and "$" not in level else None
    if near:
        yield Breach(
            options=("log_level",),
            found=str(level),
            wanted=f"one of {', '.join(LOG_LEVELS)}",
            fix=f"write {near}",
            edit=s.edit("log_level", add=(("--log_level", near),)),
        )


RULES: tuple[Rule, ...] = (
    Rule(
        name="graph-mode",
        engines=VLLM,
        since="0.11.0",
        title="a mode of CUDA graphs that there is not",
        why="the mode is looked up by its name: KeyError",
        source="vllm 0.19.1 and 0.33.0, vllm/config/compilation.py: CUDAGraphMode",
        check=_graph_mode,
    ),
    Rule(
        name="storage-config",
        engines=SGLANG,
        title="a configuration of HiCache's storage that is no JSON object",
        why="it is read as JSON when the cache starts",
        source="sglang 0.5.9, sglang/srt/mem_cache/hiradix_cache.py",
        check=_storage_config,
    ),
    Rule(
        name="log-level",
        engines=TRTLLM,
        title="a level of the log that is nearly one",
        why="click takes only the names of the logger's levels",
        source="tensorrt_llm 1.3.0rc3, tensorrt_llm/commands/serve.py: severity_map",
        check=_log_level,
    ),
)
