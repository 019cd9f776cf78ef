"""The ledger against start-up logs of vLLM: weights and KV tokens a GPU, computed and printed by the engine.

python -m bench.ledger [memory-reports.jsonl]
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from bench.table import Row, report
from infra import model as models
from infra.ledger import config
from infra.ledger.fit import Fit, fit
from infra.ledger.gpus import named
from infra.ledger.request import FitRequest
from infra.model import Model

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared/reference/memory-reports.jsonl"
OURS = ROOT / "tests/unit/ledger/data/memory-reports.jsonl"
Record = Mapping[str, Any]
TOWERS: Mapping[str, Mapping[str, object]] = {
    "qwen3_vl_moe": {
        "depth": 27,
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "patch_size": 16,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [8, 16, 24],
    },
    "mistral3": {
        "model_type": "pixtral",
        "num_hidden_layers": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "patch_size": 14,
    },
    "llama4": {
        "num_hidden_layers": 34,
        "hidden_size": 1408,
        "intermediate_size": 5632,
        "patch_size": 14,
        "image_size": 336,
        "projector_input_dim": 4096,
    },
}
"""The records say only that there is a tower; these are the families' published ones."""
FAMILIES = (
    ("Qwen3-VL", "qwen3_vl_moe"),
    ("Ministral", "mistral3"),
    ("Maverick", "llama4"),
    ("DeepSeek-R1", "deepseek_v3"),
)
CONTEXTS = {"Llama-3.3": 131072, "Maverick": 1048576, "DeepSeek-R1": 163840}


def records(path: Path) -> Iterator[Record]:
    """The records of a file of JSON lines."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            yield json.loads(line)


def hf_config(record: Record) -> dict[str, object]:
    """The config.json that a record's `model_config` was read from, as far as it tells."""
    said = dict(record["model_config"])
    family = next((kind for word, kind in FAMILIES if word in record["model"]), "llama")
    context = next((n for word, n in CONTEXTS.items() if word in record["model"]), 262144)
    quant, vision, shared = str(said.pop("quant")), said.pop("vision", False), said.pop("n_shared_experts", 0)
    text = {**said, "model_type": family, "max_position_embeddings": context, "n_shared_experts": shared or None}
    if "128x128" in quant:
        text["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    elif "fp8" in quant:
        ignored = ["re:.*self_attn.*"] if "attention" in quant else []
        text["quantization_config"] = {"quant_method": "fp8", "ignored_layers": ignored}
    if not vision:
        return text
    return {"model_type": family, "text_config": text, "vision_config": dict(TOWERS[family])}


def model_of(record: Record) -> Model | None:
    """The record's model: from its numbers, else from the catalogue."""
    if record["model_config"]:
        return config.parse(hf_config(record), record["id"], name=record["model"])
    return models.find(record["model"])


def request_of(record: Record, model: Model) -> FitRequest:
    """What the record's run was started with."""
    cut, flags = record["parallelism"], record["runtime_args"]
    gpu = named(record["gpu"], record["gpu_mem_gib"])
    assert gpu is not None
    return FitRequest(
        model=model,
        engine="vllm",
        release=record["release"],
        gpu=gpu,
        gpus_per_node=record["gpu_count"] // record["nodes"],
        nodes=record["nodes"],
        tensor=cut["tp"],
        pipeline=cut["pp"],
        data=cut["dp"],
        expert=cut["ep"],
        decode_context=cut["dcp"],
        kv_dtype=record["kv_cache_dtype"],
        max_model_len=record["max_model_len"],
        max_num_seqs=record["max_num_seqs"] or 0,
        max_num_batched_tokens=record["max_num_batched_tokens"] or 0,
        utilization=record["mem_fraction"],
        language_only="language-model-only: True" in flags,
        prefix_caching=False if "no-enable-prefix-caching" in flags else None,
    )


def compared(path: Path) -> Iterator[tuple[Record, Fit, float, float]]:
    """(record, our ledger, weights computed / printed, tokens computed / printed) where the model is known."""
    for record in records(path):
        model = model_of(record)
        if model is None:
            continue
        ours, said = fit(request_of(record, model)), record["reported"]
        yield record, ours, ours.gpu.weights_gib / said["weights_gib_per_gpu"], ours.gpu.tokens / said["kv_tokens"]


def main() -> None:
    """Prints the table and the medians, and keeps them in bench/results."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED if SHARED.is_file() else OURS
    rows: list[Row] = []
    weights: list[float] = []
    tokens: list[float] = []
    for record, ours, weight, token in compared(path):
        said, cut = record["reported"], record["parallelism"]
        other = record["mem_fraction"] * record["gpu_mem_gib"] - said["weights_gib_per_gpu"] - said["kv_gib_per_gpu"]
        weights.append(abs(weight - 1))
        tokens.append(abs(token - 1))
        rows.append(
            {
                "record": record["id"].partition("-")[0],
                "model": record["model"].rpartition("/")[2][:30],
                "GPU": f"{record['gpu']} tp{cut['tp']}{'+ep' if cut['ep'] else ''}",
                "release": record["release"],
                "weights GiB": f"{ours.gpu.weights_gib:.2f}",
                "log": f"{said['weights_gib_per_gpu']:.2f}",
                "error": f"{100 * (weight - 1):+.1f} %",
                "other GiB": f"{ours.gpu.activations + ours.gpu.other:.1f}",
                "log ": f"{other:.1f}",
                "KV tokens": ours.gpu.tokens,
                "log  ": said["kv_tokens"],
                "error ": f"{100 * (token - 1):+.1f} %",
            }
        )
    title = (
        f"{len(rows)} start-up logs: median error of weights {100 * median(weights):.2f} %, of KV tokens "
        f"{100 * median(tokens):.2f} %; within 5 %: {sum(e < 0.05 for e in tokens)} of {len(tokens)}"
    )
    report("ledger", title, rows)


if __name__ == "__main__":
    main()
