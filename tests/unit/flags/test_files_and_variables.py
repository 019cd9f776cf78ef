"""TensorRT-LLM's YAML against its classes, configuration files as options, and environment variables."""

import pytest

from infra.flags.config_file import config_findings
from infra.flags.environment import environment_findings
from infra.flags.table import load

YAML: list[tuple[dict[str, object], list[tuple[str, str | None]]]] = [
    ({"cuda_graph_config": {"enable_padding": True, "batch_sizes": [1, 2, 4]}, "print_iter_log": True}, []),
    ({"kv_cache_config": {"free_gpu_memory_fraction": 0.75, "dtype": "fp8"}, "enable_attention_dp": True}, []),
    ({"moe_config": {"backend": "CUTLASS", "load_balancer": "eplb.yaml"}, "cuda_graph_config": None}, []),
    ({"speculative_config": {"decoding_type": "MTP", "num_nextn_predict_layers": 3}}, []),
    (
        {"cuda_graph_config": {"padding_enabled": True, "batch_sizes": [1]}},
        [("cuda_graph_config.padding_enabled", "write cuda_graph_config.enable_padding")],
    ),
    ({"use_cuda_graph": True}, [("use_cuda_graph", "write cuda_graph_config")]),
    ({"tensor_parallel": 8}, [("tensor_parallel", "did you mean tensor_parallel_size?")]),
    ({"tensor_parallel_size": "eight"}, [("tensor_parallel_size", None)]),
    ({"enable_attention_dp": "perhaps"}, [("enable_attention_dp", None)]),
    ({"cuda_graph_config": {"batch_sizes": 8}}, [("cuda_graph_config.batch_sizes", None)]),
    ({"moe_config": {"backend": "cutlass"}}, [("moe_config.backend", "did you mean CUTLASS?")]),
    ({"kv_cache_dtype": "fp8"}, [("kv_cache_dtype", "write kv_cache_config.dtype")]),
]


@pytest.mark.parametrize(("config", "wanted"), YAML)
def test_the_keys_of_tensorrt_llms_file(config: dict[str, object], wanted: list[tuple[str, str | None]]) -> None:
    found = [one.problem for one in config_findings(load("trtllm", "1.3.0rc3"), config, "y.yml")]
    assert [(one.token, one.fix) for one in found] == wanted
    assert {one.where for one in found} <= {"y.yml"}


def test_a_place_is_that_of_the_key_or_of_the_one_that_holds_it() -> None:
    places = {"cuda_graph_config": "line 3", "moe_config": "line 7", "moe_config.backend": "line 8"}
    config = {"cuda_graph_config": {"padding_enabled": True}, "moe_config": {"backend": "x"}}
    found = config_findings(load("trtllm", "1.3.0rc3"), config, places)
    assert [one.problem.where for one in found] == ["line 3", "line 8"]


def test_the_main_branch_has_no_known_file() -> None:
    assert list(config_findings(load("trtllm", "main-2026"), {"anything": 1}, "y.yml")) == []


def test_vllms_file_becomes_options() -> None:
    config = {"port": 8000, "tensor_parallel_size": 8, "enforce-eager": True, "trust-remote-code": False,
              "served-model-name": ["a", "b"], "eplb-config": {"window_size": 5}}  # fmt: skip
    assert list(config_findings(load("vllm", "0.19.1"), config, "c.yaml")) == []
    wrong = {"swap-space": 4, "eplb-config": {"windw_size": 1}, "port": "x"}
    found = [one.problem for one in config_findings(load("vllm", "0.19.1"), wrong, "c.yaml")]
    assert [one.token for one in found] == ["swap-space", "eplb-config", "port"]


VARIABLES: list[tuple[str, str, str, list[str | None]]] = [
    ("vllm", "0.19.1", "VLLM_HOST_IP", []),
    ("vllm", "0.19.1", "VLLM_USE_DEEP_GEM", ["did you mean VLLM_USE_DEEP_GEMM?"]),
    ("vllm", "0.19.1", "VLLM_MODEL_NAME", []),
    ("vllm", "0.33.0", "VLLM_ROCM_VARIANT", []),
    ("vllm", "0.33.0", "VLLM_ENABLE_CHUNKED_PROCESSING", []),
    ("vllm", "0.19.1", "CUDA_VISIBLE_DEVICES", []),
    ("vllm", "0.19.1", "SGLANG_X", []),
    ("vllm", "0.33.0", "VLLM_ATTENTION_BACKEND", ["write --attention-backend"]),
    ("vllm", "0.33.0", "VLLM_ATTENTION_BACKENDS", ["write --attention-backend"]),
    ("sglang", "0.5.23", "SGLANG_DISAGGREGATION_HEARTBEAT_INTERVAL", []),
    ("sglang", "0.5.23", "SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANKS",
     ["did you mean SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK?"]),
    ("sglang", "0.5.23", "SGLANG_ENABLE_SPEC_V2", [None]),
    ("trtllm", "1.3.0rc3", "TLLM_X", []),
]  # fmt: skip


@pytest.mark.parametrize(("engine", "release", "name", "fixes"), VARIABLES)
def test_variables_that_the_release_does_not_read(
    engine: str, release: str, name: str, fixes: list[str | None]
) -> None:
    found = [one.problem for one in environment_findings(load(engine, release), {name: "line 1"})]
    assert [one.fix for one in found] == fixes
    assert {one.level for one in found} <= {"warning"}
