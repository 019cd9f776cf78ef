"""Whether it fits: plans of engines.md 4.4, what is missing, the host, limits, and changes that are checked."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.ledger import host
from infra.ledger.cuts import refusals
from infra.ledger.fit import fit
from infra.ledger.gpus import declared
from infra.ledger.nearest import answer, document, nearest
from infra.ledger.request import FitRequest, Kt, Limit, from_options
from infra.ledger.text import bar, lines

SAID: dict[str, Any] = json.loads((Path(__file__).parent / "data/models.json").read_text(encoding="utf-8"))


def request(model: str = "kimi-k2.5", **options: Any) -> FitRequest:  # noqa: ANN401 - the options of `invoke fit`
    return from_options(model, **{"release": "0.19.1", "gpus": "8xh200", **options})


@pytest.mark.parametrize(
    ("model", "options", "kv_gib", "tokens"),
    [
        ("kimi-k2.5", {"tensor": 8}, 48.9, 746765),
        ("kimi-k2.5", {"tensor": 8, "kv_dtype": "fp8"}, 48.9, 1493531),
        ("kimi-k2.5", {"tensor": 8, "utilization": 0.92}, 51.7, 789488),
        ("kimi-k2.5", {"tensor": 8, "gpus": "8xh100"}, -5.8, 0),
        ("kimi-k2.5", {"tensor": 8, "gpus": "8xh100-nvl-94"}, 6.8, 104555),
        ("kimi-k2.5", {"tensor": 16, "nodes": 2}, 83.4, 1274224),
        ("kimi-k2.5", {"tensor": 16, "nodes": 2, "gpus": "8xh100"}, 28.8, 439489),
        ("kimi-k2.5", {"data": 16, "nodes": 2, "expert": True}, 63.9, 976872),
        ("kimi-k2", {"tensor": 8, "utilization": 0.95}, 6.9, 105000),
        ("kimi-k2", {"tensor": 16, "nodes": 2}, 59.8, 913089),
        ("kimi-k2", {"tensor": 16, "nodes": 2, "gpus": "8xh100"}, 5.1, 78354),
        ("kimi-k2", {"data": 16, "nodes": 2, "expert": True}, 47.5, 726224),
        ("kimi-k2", {"data": 16, "nodes": 2, "expert": True, "gpus": "8xh100"}, -7.1, 0),
    ],
)
def test_what_is_left_for_kv(model: str, options: dict[str, Any], kv_gib: float, tokens: int) -> None:
    """engines.md 4.4 takes 5 GiB for activations and the rest; here they are computed, and come to about that."""
    found = fit(request(model, **options)).gpu
    assert found.kv == pytest.approx(kv_gib, abs=0.5)
    assert found.tokens == pytest.approx(tokens, rel=0.05)


@pytest.mark.parametrize(
    ("options", "fits"),
    [
        ({"tensor": 8}, True),
        ({"tensor": 8, "gpus": "8xh100"}, False),
        ({"tensor": 8, "gpus": "8xh100-nvl-94"}, False),
        ({"tensor": 8, "gpus": "8xh100-nvl-94", "max_model_len": "65536"}, True),
        ({"tensor": 8, "gpus": "8xh100-nvl-94", "max_model_len": "auto"}, True),
        ({"tensor": 16}, False),
        ({"tensor": 4}, False),
        ({"tensor": 8, "decode_context": 8}, True),
    ],
)
def test_fits(options: dict[str, Any], fits: bool) -> None:
    assert fit(request(**options)).fits is fits


@pytest.mark.parametrize(
    ("model", "options", "rules"),
    [
        ("kimi-k2.5", {"tensor": 8}, []),
        ("kimi-k2.5", {"tensor": 6}, ["heads-divisible", "int4-marlin-slices"]),
        ("kimi-k2.5", {"tensor": 8, "decode_context": 3}, ["decode-context-parallel"]),
        ("kimi-k2.5", {"pipeline": 62, "nodes": 8}, ["pipeline-layers"]),
        ("kimi-k2", {"tensor": 32, "nodes": 4}, ["fp8-blocks"]),
        ("kimi-k2", {"tensor": 32, "nodes": 4, "expert": True}, []),
        ("kimi-k2.5", {"tensor": 32, "nodes": 4}, []),
        ("kimi-k2.5", {"tensor": 64, "nodes": 8}, ["int4-marlin-slices"]),
        ("kimi-k2", {"data": 40, "nodes": 5, "expert": True}, ["experts-divisible"]),
    ],
)
def test_what_engines_refuse(model: str, options: dict[str, Any], rules: list[str]) -> None:
    """engines.md 4.4: FP8 experts go into at most 16 slices, INT4 ones into 32."""
    asked = request(model, **options)
    assert [problem.rule for problem in refusals(asked)] == rules
    assert [p.rule for p in answer(asked)[0].problems if p.rule in rules] == rules


def test_no_change_is_suggested_that_an_engine_refuses() -> None:
    found = nearest(request("kimi-k2", tensor=16, nodes=2, gpus="8xl40s"))
    assert all("32" not in suggestion.options.values() for suggestion in found)


def test_parts_fill_the_gpu() -> None:
    found = fit(request(tensor=8, draft="kimi-k2.5-eagle3", kv_dtype="fp8"))
    assert sum(found.parts.values()) == pytest.approx(139.80)
    assert sum(found.picture.values()) == pytest.approx(139.80)
    assert next(iter(found.picture)) == "routed experts"
    assert "norms" not in found.picture
    assert {"draft", "vision", "KV cache", "left alone", "absorbed kv_b"} <= set(found.parts)


@pytest.mark.parametrize("engine", ["vllm", "sglang", "sglang-kt", "trtllm"])
def test_the_shape_is_fixed(engine: str) -> None:
    found = fit(replace(request(tensor=8), engine=engine)).to_json()
    gpu, node = found["gpu"], found["host"]
    assert isinstance(gpu, dict)
    assert isinstance(node, dict)
    assert {"fits", "engine", "release", "gpu", "host", "problems"} <= set(found)
    sizes = ("total_gib", "usable_gib", "weights_gib", "activations_gib", "other_gib", "kv_gib")
    assert {*sizes, "kv_tokens"} <= set(gpu)
    assert {"ram_gib", "shm_gib", "disk_gib"} <= set(node)
    left = gpu["usable_gib"] - gpu["weights_gib"] - gpu["activations_gib"] - gpu["other_gib"]
    assert gpu["kv_gib"] == pytest.approx(left, abs=0.03)
    json.dumps(found)


def test_sglang_divides_in_its_own_way() -> None:
    """What was free before loading times the share, less weights; activations live in what is left."""
    found = fit(request("kimi-k2.5", engine="sglang", release="0.5.9", tensor=8, utilization=0.85)).gpu
    before = 139.80 - 0.51 - (0.91 + 6 * 0.06)
    assert found.kv == pytest.approx(0.85 * before - found.weights_gib)
    assert found.activations == 0
    spread = fit(request("kimi-k2.5", engine="sglang", release="0.5.9", tensor=8, data=8, utilization=0.85)).gpu
    assert spread.weights["embedding"] == pytest.approx(8 * found.weights["embedding"])
    assert spread.weights["lm_head"] == pytest.approx(found.weights["lm_head"])
    assert spread.weights["routed experts"] == pytest.approx(found.weights["routed experts"])
    deep = replace(request("kimi-k2.5", engine="sglang", tensor=8, data=8), whole_shared=True, attention_head=True)
    for part in ("shared experts", "lm_head"):
        assert fit(deep).gpu.weights[part] == pytest.approx(8 * found.weights[part])


def test_sglangs_draft_lives_outside_its_share() -> None:
    options: dict[str, Any] = {"engine": "sglang", "release": "0.5.9", "tensor": 8, "utilization": 0.85}
    alone, with_draft = fit(request(**options)), fit(request(**options, draft="kimi-k2.5-eagle3"))
    assert with_draft.gpu.tokens == alone.gpu.tokens
    cache = alone.gpu.tokens * 4096 / (1 << 30)
    assert with_draft.gpu.draft_outside == pytest.approx(0.72 + cache, abs=0.02)
    assert sum(with_draft.parts.values()) == pytest.approx(139.80)
    tight = fit(request(**{**options, "utilization": 0.98}, draft="kimi-k2.5-eagle3"))
    assert [problem.rule for problem in tight.problems] == ["gpu-memory"]


def test_sglang_starts_with_less_than_a_longest_sequence() -> None:
    options: dict[str, Any] = {
        "engine": "sglang",
        "release": "0.5.9",
        "tensor": 8,
        "gpus": "8xh100-nvl-94",
        "utilization": 0.9,
    }
    found = fit(request(**options))
    assert found.fits
    assert [problem.level for problem in found.problems] == ["warning"]
    assert not fit(request(**options, max_model_len="262144")).fits


def test_graphs_are_inside_from_0_21() -> None:
    assert fit(request(tensor=8, release="0.21.0")).gpu.other - fit(request(tensor=8)).gpu.other == pytest.approx(1.0)


def test_what_is_missing_is_a_number() -> None:
    found = fit(request(tensor=8, gpus="8xh100"))
    (problem,) = found.problems
    assert found.missing_gib == pytest.approx(found.gpu.sequence_gib - found.gpu.kv)
    assert f"{found.missing_gib:.1f} GiB" in problem.why
    assert (problem.rule, problem.where) == ("gpu-memory", "--gpus")
    placed = replace(found.request, places={"gpu": "$.fleet"})
    assert fit(placed).problems[0].where == "$.fleet"


@pytest.mark.parametrize(
    ("model", "options", "first"),
    [
        ("kimi-k2.5", {"tensor": 8, "gpus": "8xh100"}, {"--nodes": "2", "--pipeline": "2"}),
        ("llama-3.3-70b", {"gpus": "8xh100"}, {"--tensor": "4"}),
        ("kimi-k2.5", {"tensor": 8, "gpus": "8xh100-nvl-94", "max_model_len": "131072"}, {"--utilization": "0.95"}),
        ("kimi-k2", {"tensor": 8}, {"--utilization": "0.95", "--kv-dtype": "fp8"}),
    ],
)
def test_changes_are_cheapest_first_and_each_fits(model: str, options: dict[str, Any], first: dict[str, str]) -> None:
    asked = request(model, **options)
    found = nearest(asked)
    assert found[0].options == first
    assert all(suggestion.fit.fits for suggestion in found)
    assert len({suggestion.cost for suggestion in found}) == len(found)
    answered, same = answer(asked)
    assert [suggestion.options for suggestion in same] == [suggestion.options for suggestion in found]
    assert answered.problems[0].fix == f"{found[0].text} ({found[0].cost})"
    assert json.loads(json.dumps(document(answered, same)))["nearest"][0]["options"] == first


@pytest.mark.parametrize(
    ("options", "rule", "fix"),
    [
        ({"tensor": 16}, "world-size", "--nodes 2, or sizes of at most 8 GPUs"),
        ({"tensor": 12, "gpus": "4xh200"}, "world-size", "--nodes 3, or sizes of at most 4 GPUs"),
        ({"tensor": 7}, "heads-divisible", "--tensor 8"),
        ({"tensor": 7}, "int4-marlin-slices", "--tensor 8, or --expert"),
        ({"tensor": 6}, "heads-divisible", "--tensor 8"),
        ({"tensor": 5, "data": 8, "nodes": 8}, "int4-marlin-slices", "at most 32 slices, or --expert"),
        ({"tensor": 3, "gpus": "3xh200"}, "heads-divisible", "--tensor 2"),
        ({"tensor": 64, "nodes": 8}, "int4-marlin-slices", "--tensor 32, or --expert"),
        ({"tensor": 8, "max_model_len": "1048576"}, "context-length", "--max-model-len 262144, or leave it out"),
    ],
)
def test_a_fix_can_be_typed(options: dict[str, Any], rule: str, fix: str) -> None:
    (problem,) = [p for p in answer(request(**options))[0].problems if p.rule == rule]
    assert problem.fix == fix


@pytest.mark.parametrize(
    ("options", "has", "has_not"),
    [
        ({"tensor": 16}, ["--tensor 8", "--nodes 2"], []),
        ({"tensor": 4}, ["--tensor 8"], ["--nodes 2 --pipeline 2"]),
        ({"tensor": 4, "gpus": "8xh100"}, ["--nodes 2 --tensor 8 --pipeline 2"], []),
        ({"tensor": 8, "max_model_len": "1048576"}, ["--max-model-len 262144"], ["--max-model-len 742400"]),
    ],
)
def test_suggestions_agree_with_what_there_is(options: dict[str, Any], has: list[str], has_not: list[str]) -> None:
    """GPUs that are idle before nodes that must be bought; no context that the model does not have."""
    texts = [suggestion.text for suggestion in answer(request(**options))[1]]
    assert set(has) <= set(texts)
    assert not set(has_not) & set(texts)


def test_a_source_is_in_every_clone() -> None:
    root = Path(__file__).parents[3]
    kt_pod = replace(kt(chunked_prefill=8192), host_ram_gib=480)
    for asked in (request(tensor=8, gpus="8xh100"), kt_pod, replace(request(tensor=8), utilization=0.98)):
        sources = [problem.source.partition(",")[0] for problem in fit(asked).problems]
        assert sources
        assert all((root / source).is_file() for source in sources)


@pytest.mark.parametrize(
    ("changes", "longest", "said"),
    [
        ({}, 262144, False),
        ({"engine": "sglang", "most_tokens": 50000}, 50000, True),
        ({"engine": "sglang", "most_tokens": 50000, "max_model_len": 32768}, 32768, False),
    ],
)
def test_the_longest_sequence_ends_where_the_cache_does(changes: dict[str, Any], longest: int, said: bool) -> None:
    found = fit(replace(request(tensor=8), **changes))
    assert found.longest == longest
    text = "\n".join(lines(found))
    assert f"longest sequence {longest:,}" in text
    assert ("ends where the cache does" in text) is said


@pytest.mark.parametrize(("memory_mib", "rules"), [(143771, []), (157286, ["gpu-size"])])
def test_a_memory_that_is_not_that_of_the_name_is_said(memory_mib: int, rules: list[str]) -> None:
    found = fit(replace(request(tensor=8), gpu=declared("NVIDIA H200", memory_mib), places={"gpu": "$.fleet"}))
    assert [problem.rule for problem in found.problems] == rules
    assert {(problem.level, problem.where) for problem in found.problems} <= {("warning", "$.fleet")}


def test_the_longest_context_that_fits() -> None:
    found = {s.cost: s for s in nearest(request(tensor=8, gpus="8xh100-nvl-94"))}
    length = int(found["shorter requests"].options["--max-model-len"])
    assert fit(request(tensor=8, gpus="8xh100-nvl-94", max_model_len=str(length))).fits
    assert not fit(request(tensor=8, gpus="8xh100-nvl-94", max_model_len=str(length + 1024))).fits


def test_nothing_is_suggested_where_it_fits_or_nothing_helps() -> None:
    assert nearest(request(tensor=8)) == ()
    assert nearest(request(gpus="1xl4")) == ()


def kt(**changes: Any) -> FitRequest:  # noqa: ANN401
    asked = request(engine="sglang", release="0.7.2", gpus="2xh100-nvl-94", tensor=2)
    return replace(asked, engine="sglang-kt", kt=Kt(**{"cpu": "avx512", "chunked_prefill": 8192, **changes}))


@pytest.mark.parametrize(
    ("cpu", "gpu_experts", "gib"),
    [
        ("avx512", 0, 590.6),
        ("avx512", 200, 590.6),
        ("", 0, 590.6),
        ("avx2", 228, 118.1),
        ("avxvnni", 0, 1122.2),
        ("avxvnni", 96, 841.7),
    ],
)
def test_experts_in_host_memory(cpu: str, gpu_experts: int, gib: float) -> None:
    """engines.md 5: on AVX512 hosts all experts are resident whatever lies on GPUs."""
    assert host.need(kt(cpu=cpu, gpu_experts=gpu_experts)).experts_gib == pytest.approx(gib, abs=0.2)


@pytest.mark.parametrize("chunk", SAID["kt_rawint4"]["activation_pool_GiB_by_chunked_prefill_and_numa"])
def test_activation_pools(chunk: str) -> None:
    said = SAID["kt_rawint4"]["activation_pool_GiB_by_chunked_prefill_and_numa"][chunk]
    for nodes, gib in said.items():
        found = host.need(kt(chunked_prefill=int(chunk), threadpools=int(nodes))).pools_gib
        assert found == pytest.approx(gib, rel=0.02, abs=0.06)


def test_gpu_experts_of_ktransformers() -> None:
    """One unit of --kt-num-gpu-experts is 1.486 GB over all ranks; without experts about 24.4 GB are left."""
    few, more = (fit(kt(gpu_experts=count)).gpu.weights for count in (30, 31))
    assert (more["routed experts"] - few["routed experts"]) * 2 * (1 << 30) == pytest.approx(1.486e9, rel=1e-3)
    assert "routed experts" not in fit(kt()).gpu.weights


def test_the_mapped_files_of_an_avx2_host() -> None:
    """118.1 GiB + 156/384 of 472.5 GiB: 256 GB start, and read experts from the disk."""
    asked = replace(kt(cpu="avx2", gpu_experts=228, threadpools=1, chunked_prefill=2048), host_ram_gib=250.0)
    assert host.need(asked).mapped_gib == pytest.approx(156 / 384 * 472.5, rel=1e-3)
    assert [problem.rule for problem in fit(asked).problems if problem.level == "warning"] == ["page-cache"]


@pytest.mark.parametrize(
    ("ram_gib", "chunk", "level"),
    [(480, 8192, "error"), (650, 32658, "error"), (700, 8192, "warning"), (800, 8192, "")],
)
def test_memory_of_the_pod(ram_gib: float, chunk: int, level: str) -> None:
    """The namespace of source 001: it fails at 480 and 650 GiB as engines.md 5 predicts; ask for 750 to 800."""
    found = fit(replace(kt(chunked_prefill=chunk), host_ram_gib=ram_gib))
    assert [p.level for p in found.problems if p.rule == "host-memory"] == ([level] if level else [])


@pytest.mark.parametrize(("ram_gib", "levels"), [(16.0, ["error"]), (64.0, ["warning"]), (128.0, [])])
def test_what_is_assumed_of_processes_refuses_only_where_it_is_far_off(ram_gib: float, levels: list[str]) -> None:
    found = fit(replace(request(tensor=8), host_ram_gib=ram_gib))
    assert [problem.level for problem in found.problems] == levels


def test_shared_memory_and_disk() -> None:
    asked = request(tensor=8)
    assert host.need(asked).disk_gib == pytest.approx(554.4, abs=0.2)
    found = fit(replace(asked, disk_gib=500.0, shm_gib=0.06))
    assert {(p.rule, p.level) for p in found.problems} == {("disk", "error"), ("shared-memory", "warning")}
    assert fit(replace(asked, disk_gib=620.0, shm_gib=64.0)).problems == ()


@pytest.mark.parametrize(
    ("what", "most", "exceeded"),
    [
        ("gpus", 4, True),
        ("gpus", 8, False),
        ("nodes", 1, False),
        ("time_s", 3600, True),
        ("cpus", 64, True),
        ("storage_gib", 500, True),
        ("node_memory_gib", 40, True),
        ("memory_gib", 2000, False),
    ],
)
def test_limits(what: str, most: float, exceeded: bool) -> None:
    asked = replace(request(tensor=8), cpus=112, time_s=86400, limits=(Limit(what=what, most=most, of="QOS normal"),))
    problems = [p for p in fit(asked).problems if p.rule == "limit"]
    assert len(problems) == exceeded
    assert all("QOS normal" in p.wanted and "too many" in p.why for p in problems)


def test_text() -> None:
    asked = request(tensor=8, gpus="8xh100")
    printed = "\n".join(lines(fit(asked), nearest(asked)))
    assert printed.startswith("error: --gpus:")
    assert "--nodes 2 --pipeline 2" in printed
    assert "routed experts" in printed


@pytest.mark.parametrize(
    ("share", "cells"), [(0.0, ""), (0.001, "▏"), (0.5, "█████"), (1.0, "█" * 10), (7.0, "█" * 10)]
)
def test_bars(share: float, cells: str) -> None:
    assert bar(share, 10) == cells
