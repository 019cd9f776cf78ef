"""The words of `invoke fit`, and what a release takes where they say nothing."""

from typing import Any

import pytest

from hosts.errors import InputError
from infra.ledger import defaults
from infra.ledger.gpus import GPUS, declared, named, of_memory
from infra.ledger.request import AUTO, KT_ENGINES, from_options


@pytest.mark.parametrize(
    ("gpus", "count", "name", "gib"),
    [
        ("8xh200", 8, "H200", 139.80),
        ("8XH200", 8, "H200", 139.80),
        ("8x139.8GiB", 8, "H200", 139.80),
        ("8x191.98GiB", 8, "MI300X", 191.98),
        ("4x60GiB", 4, "60 GiB", 60.0),
        ("h100", 1, "H100 80GB", 79.18),
        ("2 x H100-NVL-94", 2, "H100 NVL 94GB", 93.1),
        ("8xNVIDIA H100 80GB HBM3", 8, "H100 80GB", 79.18),
        ("4xRTX4090-48", 4, "RTX 4090 48GB", 47.4),
    ],
)
def test_gpus(gpus: str, count: int, name: str, gib: float) -> None:
    r = from_options("kimi-k2.5", release="0.19.1", gpus=gpus)
    assert (r.gpus_per_node, r.gpu.name, r.gpu.total_gib) == (count, name, gib)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("NVIDIA H200", "h200"),
        ("AMD Instinct MI300X", "mi300x"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA A100-SXM4-80GB", "a100-80"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
    ],
)
def test_what_nvidia_smi_calls_them(name: str, key: str) -> None:
    assert named(name) == GPUS[key]


@pytest.mark.parametrize(
    ("name", "memory_mib", "product", "gib", "unusual"),
    [
        ("NVIDIA H200", 143771, "H200", 139.80, False),
        ("NVIDIA H200", 14377, "H200", 13.4, True),
        ("NVIDIA H100", 81559, "H100 80GB", 79.18, False),
        ("NVIDIA H100", 95830, "H100 NVL 94GB", 93.1, False),
        ("NVIDIA H100 80GB HBM3", 40000, "H100 80GB", 38.5, True),
        ("NVIDIA GeForce RTX 4090", 49140, "RTX 4090 48GB", 47.4, False),
        ("NVIDIA L40S", 49140, "L40S", 47.4, False),
        ("abacus", 61440, "59.4 GiB", 59.4, False),
    ],
)
def test_what_a_fleet_declares(name: str, memory_mib: int, product: str, gib: float, unusual: bool) -> None:
    """By name and memory: two sizes of one name, ECC on an L40S, a digit too few."""
    found = declared(name, memory_mib)
    assert (found.name, found.total_gib, found.unusual) == (product, gib, unusual)


def test_a_given_memory_is_kept() -> None:
    found = named("NVIDIA H200", 100.0)
    assert found
    assert (found.name, found.total_gib) == ("H200", 100.0)
    assert of_memory(191.5).vendor == "nvidia"
    assert of_memory(191.9).vendor == "amd"
    assert named("abacus") is None


@pytest.mark.parametrize(
    ("written", "size"),
    [("", 0), ("65536", 65536), ("64k", 64000), ("64K", 65536), ("1.5m", 1_500_000), ("auto", AUTO), ("-1", AUTO)],
)
def test_lengths(written: str, size: int) -> None:
    assert from_options("kimi-k2.5", release="0.19.1", gpus="8xh200", max_model_len=written).max_model_len == size


@pytest.mark.parametrize("model", ["kimi-k2.5", "Kimi-K2.5", "moonshotai/Kimi-K2.5", "MOONSHOTAI/KIMI-K2.5/"])
def test_a_model_is_found_by_name_and_repository(model: str) -> None:
    assert from_options(model, gpus="8xh200").model.name == "kimi-k2.5"


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"gpus": "8xh300"}, ["--gpus"]),
        ({"gpus": "0xh200"}, ["--gpus"]),
        ({"gpus": ""}, ["--gpus"]),
        ({"gpus": "8xh200", "engine": "vlm", "utilization": 1.5}, ["--engine", "--utilization"]),
        ({"gpus": "8xh200", "quant": "int3", "dtype": "bf17"}, ["--quant", "--dtype"]),
        ({"gpus": "8xh200", "tensor": -1, "nodes": 0}, ["--nodes", "--tensor"]),
        ({"gpus": "8xh200", "kv_dtype": "foo", "release": "banana"}, ["--release", "--kv-dtype"]),
        ({"gpus": "8xh200", "utilization": "0", "tensor": "0"}, ["--utilization", "--tensor"]),
        ({"gpus": "8xh200", "utilization": "half", "tensor": "two"}, ["--utilization", "--tensor"]),
        ({"gpus": "8xh200", "max_model_len": "64q", "draft": "nobody"}, ["--draft", "--max-model-len"]),
    ],
)
def test_all_that_is_wrong_is_said_at_once(options: dict[str, Any], where: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        from_options("kimi-k2.5", **options)
    assert [problem.where for problem in caught.value.problems] == where


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("kimi-k2.6", "kimi-k2.5"),
        ("moonshotai/Kimi-K2.6/", "kimi-k2.5"),
        ("deepseek-v33", "deepseek-v3"),
        ("./nowhere.json", ""),
        ("zzz", ""),
    ],
)
def test_a_model_that_is_no_file_either(typed: str, near: str) -> None:
    with pytest.raises(InputError) as caught:
        from_options(typed, gpus="8xh200")
    (problem,) = caught.value.problems
    assert repr(typed) in problem.found
    assert "the path of its config.json" in str(problem.fix)
    assert ("did you mean" in str(problem.fix)) is bool(near)
    assert near in str(problem.fix)
    assert len(str(problem)) < 400


@pytest.mark.parametrize(("model", "method"), [("kimi-k2.5", "RAWINT4"), ("kimi-k2", "FP8")])
@pytest.mark.parametrize("engine", KT_ENGINES)
def test_experts_lie_on_the_host_but_those_that_are_named(engine: str, model: str, method: str) -> None:
    request = from_options(model, engine=engine, gpus="4xh100", tensor=4, kt_num_gpu_experts=8)
    assert request.kt is not None
    assert (request.kt.method, request.kt.gpu_experts) == (method, 8)
    assert from_options(model, engine="sglang", gpus="4xh100").kt is None


@pytest.mark.parametrize(
    ("typed", "understood"),
    [
        ({"release": "v0.19.1"}, ("release", "0.19.1")),
        ({"release": "0.12.7"}, ("release", "0.12.7")),
        ({"release": "0.20.0rc1.dev4+g12"}, ("release", "0.20.0rc1.dev4+g12")),
        ({"release": "main-2026", "engine": "trtllm"}, ("release", "main-2026")),
        ({"kv_dtype": "FP8_E4M3"}, ("kv_dtype", "fp8_e4m3")),
        ({"tensor": "8"}, ("tensor", 8)),
        ({"tensor": ""}, ("tensor", 1)),
        ({"utilization": "0.85"}, ("utilization", 0.85)),
        ({"utilization": ""}, ("utilization", 0.0)),
    ],
)
def test_what_is_typed_well_is_taken(typed: dict[str, Any], understood: tuple[str, object]) -> None:
    field, value = understood
    assert getattr(from_options("kimi-k2.5", gpus="8xh200", **typed), field) == value


@pytest.mark.parametrize(
    ("engine", "options", "cut"),
    [
        ("vllm", {"tensor": 8, "data": 2, "nodes": 2}, (8, 2, False)),
        ("sglang", {"tensor": 16, "data": 16, "nodes": 2}, (1, 16, True)),
        ("sglang", {"tensor": 8, "data": 2, "nodes": 2}, (8, 2, False)),
        ("sglang", {"tensor": 8}, (8, 1, False)),
        ("trtllm", {"tensor": 8, "data": 8}, (1, 8, True)),
    ],
)
def test_sglang_counts_replicas_inside_its_tensor_size(
    engine: str, options: dict[str, Any], cut: tuple[int, int, bool]
) -> None:
    r = from_options("kimi-k2", engine=engine, release="0.5.9", gpus="8xh200", **options)
    assert (r.tensor, r.data, r.dp_attention) == cut


@pytest.mark.parametrize(
    ("engine", "release", "gpus", "share"),
    [
        ("vllm", "0.10.0", "8xh200", 0.9),
        ("vllm", "0.19.1", "8xh200", 0.9),
        ("vllm", "0.20.2", "8xh200", 0.92),
        ("vllm", "0.33.0", "8xh200", 0.92),
        ("vllm", "0.12.7", "8xh200", 0.9),
        ("trtllm", "1.3.0rc3", "8xh200", 0.9),
    ],
)
def test_shares_of_memory(engine: str, release: str, gpus: str, share: float) -> None:
    assert defaults.utilization(from_options("kimi-k2", engine=engine, release=release, gpus=gpus)) == share


def test_sglang_reserves_by_its_own_rule() -> None:
    """server_args.py 0.5.9 on a H200 at tp 8: (143771 - (512 + 8192 * 1.5 + 512 * 2 + 1024)) / 143771 MiB."""
    r = from_options("kimi-k2", engine="sglang", release="0.5.9", gpus="8xh200", tensor=8)
    assert defaults.utilization(r) == pytest.approx(0.897, abs=0.0006)
    vision = from_options("kimi-k2.5", engine="sglang", release="0.5.9", gpus="8xh200", tensor=8)
    assert defaults.utilization(vision) == pytest.approx(0.897 * 0.95, abs=0.0006)


@pytest.mark.parametrize(
    ("gpus", "release", "sequences", "tokens"),
    [
        ("8xh200", "0.19.1", 1024, 8192),
        ("8xa100-80", "0.19.1", 256, 2048),
        ("8xl40s", "0.19.1", 256, 2048),
        ("8xb200", "0.33.0", 1024, 16384),
    ],
)
def test_vllms_batches(gpus: str, release: str, sequences: int, tokens: int) -> None:
    r = from_options("kimi-k2", release=release, gpus=gpus)
    assert (defaults.sequences(r), defaults.batched_tokens(r)) == (sequences, tokens)
