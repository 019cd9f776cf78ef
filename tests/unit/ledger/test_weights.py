"""Parameters and bytes by component reproduce reference/models.json and engines.md 4.2 and 4.4."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra import model as models
from infra import precision as precisions
from infra.ledger import padding
from infra.ledger.division import shards_of
from infra.ledger.request import from_options
from infra.ledger.weights import Shards, checkpoint_bytes, parameters, per_gpu, rank_experts, stages

GIB = 1 << 30
SAID: dict[str, Any] = json.loads((Path(__file__).parent / "data/models.json").read_text(encoding="utf-8"))
PARAMETERS = {
    "routed experts": ("routed_experts",),
    "shared experts": ("shared_experts",),
    "dense MLP": ("dense_mlp",),
    "attention, replicated": ("attn_q_a+kv_a",),
    "attention": ("attn_q_b+kv_b+o",),
    "router": ("router_gate",),
    "norms": ("norms",),
    "embedding": ("embed",),
    "lm_head": ("lm_head",),
    "vision": ("vision_tower(MoonViT 27L,1152,4304)", "mm_projector"),
}
VARIANTS = {"K2-FP8": "kimi-k2", "K2.5-INT4": "kimi-k2.5", "K2.5-BF16": "kimi-k2.5"}


@pytest.mark.parametrize("component", PARAMETERS)
def test_parameters_of_kimi(component: str) -> None:
    assert parameters(models.load("kimi-k2.5").architecture)[component] == sum(
        SAID["params"][name] for name in PARAMETERS[component]
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_bytes_on_disk(variant: str) -> None:
    model = models.load(VARIANTS[variant])
    precision = precisions.of("bf16") if variant.endswith("BF16") else model.bytes_by_component
    assert checkpoint_bytes(model.architecture, precision) == SAID["bytes"][variant]["TOTAL"]


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("deepseek-v3", 671.03),
        ("llama-3.3-70b", 70.55),
        ("qwen3-235b-a22b", 235.09),
        ("qwen3-vl-30b-a3b", 31.07),
        ("ministral-3-14b", 13.95),
        ("nemotron-3-nano-fp8", 31.58),
        ("nemotron-3-super-fp8", 120.67),
        ("qwen3-coder-next-fp8", 79.67),
        ("llama-4-maverick-fp8", 401.58),
    ],
)
def test_the_catalogue_has_the_published_sizes(name: str, billions: float) -> None:
    total = sum(parameters(models.load(name).architecture).values())
    assert total / 1e9 == pytest.approx(billions, rel=1e-3)


@pytest.mark.parametrize("name", models.names())
def test_weights_bytes_of_the_catalogue_are_those_computed(name: str) -> None:
    model = models.load(name)
    assert model.weights_bytes == pytest.approx(
        checkpoint_bytes(model.architecture, model.bytes_by_component), rel=2e-4 if model.files else 1e-9
    )


@pytest.mark.parametrize(
    ("name", "options", "table"),
    [
        ("kimi-k2.5", {"tensor": 8}, "per_gpu_components_K2.5_TP8"),
        ("kimi-k2", {"tensor": 16, "nodes": 2}, "per_gpu_components_K2_TP16"),
    ],
)
def test_components_of_a_gpu(name: str, options: dict[str, Any], table: str) -> None:
    r = from_options(name, release="0.19.1", gpus="8xh200", **options)
    parts = dict(per_gpu(r.model, r.precision, shards_of(r), stages(61, 1)[0]))
    buffers = parts.pop("buffers")
    said = SAID[table]
    assert sum(parts.values()) == pytest.approx(said["TOTAL"], rel=1e-6)
    assert parts["attention, replicated"] == said["attn_repl"]
    assert parts["absorbed kv_b"] == said["kv_b absorbed copy (W_UK_T,W_UV bf16)"]
    assert buffers < 0.04 * GIB


@pytest.mark.parametrize(
    "plan", SAID["plans"], ids=lambda p: f"{p['variant']}-{p['gpus']}-{p.get('tp')}-{p.get('pp', 1)}"
)
def test_plans(plan: dict[str, Any]) -> None:
    """The table of engines.md 4.4; a pipeline is computed by its stages here and as their mean there."""
    name, quant = VARIANTS[plan["variant"]], "bf16" if plan["variant"].endswith("BF16") else ""
    r = from_options(
        name,
        release="0.19.1",
        gpus="8xh200",
        nodes=max(1, plan["gpus"] // 8),
        tensor=plan["tp"],
        pipeline=plan.get("pp", 1),
        data=plan.get("dp", 1),
        expert=plan.get("ep", 1) > 1,
        quant=quant,
    )
    shards = shards_of(r)
    found = max(sum(per_gpu(r.model, r.precision, shards, s).values()) for s in stages(61, r.pipeline)) / GIB
    assert found == pytest.approx(plan["weights_GiB_per_gpu"], rel=0.01)


def test_a_rank_of_whole_experts_is_the_fullest_one() -> None:
    a = models.load("kimi-k2").architecture
    assert rank_experts(a, Shards(experts=16, whole_experts=True)) == 24
    assert rank_experts(a, Shards(experts=10, whole_experts=True)) == 39
    assert rank_experts(a, Shards(experts=10)) == pytest.approx(38.4)
    assert rank_experts(a, Shards(experts=32, whole_experts=True, redundant_experts=32)) == 13


@pytest.mark.parametrize(
    ("model", "options", "width", "hidden", "row_bytes"),
    [
        ("kimi-k2.5", {"gpus": "8xh200"}, 1, 1, 0),
        ("nemotron-3-nano-fp8", {"gpus": "1xh200"}, 128, 1, 0),
        ("nemotron-3-nano-fp8", {"gpus": "1xh200", "release": "0.16.0"}, 1, 1, 0),
        ("gpt-oss-120b", {"gpus": "8xh100"}, 64, 1, 0),
        ("gpt-oss-120b", {"gpus": "8xb200"}, 256, 256, 0),
        ("gpt-oss-120b", {"gpus": "8xa100"}, 128, 256, 0),
        ("deepseek-r1", {"gpus": "8xmi300x"}, 1, 1, 256),
        ("qwen3-235b-a22b-fp8", {"gpus": "8xmi300x"}, 1, 1, 0),
        ("llama-3.3-70b", {"gpus": "8xmi300x"}, 1, 1, 0),
        ("gpt-oss-120b", {"gpus": "8xh100", "engine": "sglang"}, 1, 1, 0),
    ],
)
def test_padding(model: str, options: dict[str, Any], width: int, hidden: int, row_bytes: int) -> None:
    r = from_options(model, **{"release": "0.19.1", **options})
    assert padding.of(r) == padding.Padding(width=width, hidden=hidden, row_bytes=row_bytes)


def test_slices_of_experts_are_rounded_up() -> None:
    """1856 wide, in two: 928 becomes 1024; whole, it becomes 1920."""
    a, p = models.load("nemotron-3-nano-fp8").architecture, precisions.of("fp8")
    plain = per_gpu(models.load("nemotron-3-nano-fp8"), p, Shards(experts=2), stages(a.layers, 1)[0])
    padded = per_gpu(models.load("nemotron-3-nano-fp8"), p, Shards(experts=2, expert_step=128), stages(a.layers, 1)[0])
    assert padded["routed experts"] / plain["routed experts"] == pytest.approx(1024 / 928)
    whole = Shards(experts=2, whole_experts=True, expert_step=128)
    found = per_gpu(models.load("nemotron-3-nano-fp8"), p, whole, stages(a.layers, 1)[0])
    assert found["routed experts"] / plain["routed experts"] == pytest.approx(1920 / 1856)


@pytest.mark.parametrize(
    ("layers", "pipeline", "extra_last", "sizes"),
    [
        (61, 2, False, [31, 30]),
        (61, 2, True, [30, 31]),
        (61, 4, False, [15, 15, 16, 15]),
        (62, 4, False, [15, 16, 16, 15]),
        (5, 3, True, [1, 2, 2]),
    ],
)
def test_stages(layers: int, pipeline: int, extra_last: bool, sizes: list[int]) -> None:
    found = stages(layers, pipeline, extra_last=extra_last)
    assert [s.last - s.first for s in found] == sizes
    assert [s.begins for s in found] == [n == 0 for n in range(pipeline)]
    assert [s.ends for s in found] == [n == pipeline - 1 for n in range(pipeline)]
