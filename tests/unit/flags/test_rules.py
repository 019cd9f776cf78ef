"""Each rule of each parser, one line a case."""

import pytest

from infra.flags.check import check
from infra.flags.table import load
from infra.flags.words import UNKNOWN, Token, Value
from tests.unit.flags.lines import read, repaired, said, tokens

VLLM, SGLANG, TRTLLM = ("vllm", "0.19.1"), ("sglang", "0.5.23"), ("trtllm", "1.3.0rc3")

VALUES: list[tuple[tuple[str, str], str, str, Value]] = [
    (VLLM, "M --tensor-parallel-size 8", "--tensor-parallel-size", 8),
    (VLLM, "M --tensor_parallel_size=8", "--tensor-parallel-size", 8),
    (VLLM, "M -tp 8", "--tensor-parallel-size", 8),
    (VLLM, "M -tp=8", "--tensor-parallel-size", 8),
    (VLLM, "M -q fp8", "--quantization", "fp8"),
    (VLLM, "M -qfp8", "--quantization", "fp8"),
    (VLLM, "M --max-model 8192", "--max-model-len", 8192),
    (VLLM, "M --max-model-len 64k", "--max-model-len", 64000),
    (VLLM, "M --max-model-len 64K", "--max-model-len", 65536),
    (VLLM, "M --max-model-len 1.5k", "--max-model-len", 1500),
    (VLLM, "M --max-model-len auto", "--max-model-len", -1),
    (VLLM, "M --max-model-len -1", "--max-model-len", -1),
    (VLLM, "M --max-num-batched-tokens 8k", "--max-num-batched-tokens", 8000),
    (VLLM, "M --kv-cache-memory-bytes 10G", "--kv-cache-memory-bytes", 10 * 1024**3),
    (VLLM, "M --enforce-eager", "--enforce-eager", True),
    (VLLM, "M --no-enforce-eager", "--enforce-eager", False),
    (VLLM, "M --headless", "--headless", True),
    (VLLM, "M -O3", "--optimization-level", "3"),
    (VLLM, "M -O=3", "--optimization-level", "3"),
    (VLLM, "M -O 3", "--optimization-level", "3"),
    (VLLM, "M --served-model-name a b --port 80", "--served-model-name", ("a", "b")),
    (VLLM, "M --middleware a --middleware b", "--middleware", ("a", "b")),
    (VLLM, "M --moe-backend FlashInfer-TRTLLM", "--moe-backend", "flashinfer_trtllm"),
    (VLLM, "M --hf-token", "--hf-token", True),
    (VLLM, "M --revision None", "--revision", None),
    (VLLM, "M --gpu-memory-utilization .9", "--gpu-memory-utilization", 0.9),
    (VLLM, "M --eplb-config.window_size 5", "--eplb-config", {"window_size": 5}),
    (VLLM, "M --eplb_config.window_size=5 --eplb-config.use_async true", "--eplb-config",
     {"window_size": 5, "use_async": True}),
    (VLLM, "M -cc.custom_ops+ +rms_norm,none -cc.custom_ops+=all", "--compilation-config",
     {"custom_ops": ("+rms_norm", "none", "all")}),
    (VLLM, "M --hf-overrides.rope_parameters.factor 4.0", "--hf-overrides", {"rope_parameters": {"factor": 4.0}}),
    (VLLM, "M --limit-mm-per-prompt.image 2", "--limit-mm-per-prompt", {"image": 2}),
    (VLLM, "M --lora-modules a=/x '{\"name\": \"b\", \"path\": \"/y\"}'", "--lora-modules",
     ("a=/x", {"name": "b", "path": "/y"})),
    (("vllm", "0.10.0"), "M -O3", "--compilation-config", {"level": 3}),
    (("vllm", "0.10.0"), "M -O.level=3", "--compilation-config", {"level": 3}),
    (("vllm", "0.33.0"), "M --disable-prefix-caching", "--enable-prefix-caching", False),
    (("vllm", "0.33.0"), "M --disable-log-requests", "--enable-log-requests", False),
    (("vllm", "0.33.0"), "M --kv-transfer-config.kv_connector_extra_config.cpu_bytes 80m", "--kv-transfer-config",
     {"kv_connector_extra_config": {"cpu_bytes": 80_000_000}}),
    (SGLANG, "--model M --tp 8", "--tp-size", 8),
    (SGLANG, "--model M --tensor-parallel-size=8", "--tp-size", 8),
    (SGLANG, "--model M --trust-remote-code", "--trust-remote-code", True),
    (TRTLLM, "M --tp_size 8", "--tensor_parallel_size", 8),
    (TRTLLM, "serve --tp_size=8 M", "--tensor_parallel_size", 8),
    (TRTLLM, "--trust_remote_code M", "--trust_remote_code", True),
    (VLLM, "M --port $PORT", "--port", UNKNOWN),
    (VLLM, "M --port=$PORT", "--port", UNKNOWN),
    (VLLM, "M --port <port>", "--port", UNKNOWN),
    (VLLM, "M --dtype {{dtype}}x --port 1", "--port", 1),
]  # fmt: skip


@pytest.mark.parametrize(("table", "line", "name", "value"), VALUES)
def test_a_value_is_read_as_the_parser_reads_it(table: tuple[str, str], line: str, name: str, value: Value) -> None:
    checked = read(*table, line)
    assert [one for one in said(checked) if not one.startswith("warning")] == []
    assert [one.value for one in checked.options if one.name == name][-1:] == [value]


QUOTES = (
    "error --speculative-config: put the whole JSON in single quotes, so that the shell leaves its double quotes in"
)
SWAP = (
    "error --swap-space: leave it out; for KV in host memory write --kv-offloading-size GIB "
    "--kv-offloading-backend native"
)
WRONG: list[tuple[tuple[str, str], str, list[str], str | None]] = [
    (VLLM, "M -tp8", ["error -tp8: write -tp 8"], "M -tp 8"),
    (VLLM, "M -O.level=3", ["error -O.level: write -O3"], "M -O3"),
    (VLLM, "M -O.cudagraph_mode FULL", ["error -O.cudagraph_mode: write -cc.cudagraph_mode=FULL"],
     "M -cc.cudagraph_mode=FULL"),
    (VLLM, "M -O5", ["error -O5: None"], None),
    (("vllm", "0.10.0"), "M --gpu-memory-utilization 1.2", ["error --gpu-memory-utilization: None"], None),
    (VLLM, "M --tensor-parallel-size8", ["error --tensor-parallel-size8: write --tensor-parallel-size 8"],
     "M --tensor-parallel-size 8"),
    (VLLM, "M --enable-eplb --no-enable-eplb", ["warning --enable-eplb: None"], None),
    (VLLM, "M --port 1 --port 2 --port 2", ["warning --port: None"], None),
    (VLLM, "M --speculative-config.num_draft_tokens 3",
     ["error --speculative-config.num_draft_tokens: did you mean --speculative-config.num_speculative_tokens?"],
     "M --speculative-config.num_speculative_tokens 3"),
    (VLLM, "M -tensor-parallel-size 8", ["error -tensor-parallel-size: write --tensor-parallel-size"],
     "M --tensor-parallel-size 8"),
    (VLLM, "M -nnodes 2", ["error -nnodes: write --nnodes"], "M --nnodes 2"),
    (VLLM, "M --tensor-paralel-size 8", ["error --tensor-paralel-size: did you mean --tensor-parallel-size?"],
     "M --tensor-parallel-size 8"),
    (VLLM, "M --tp 8", ["error --tp: write --tensor-parallel-size"], "M --tensor-parallel-size 8"),
    (VLLM, "M \N{EN DASH}tensor-parallel-size 8",
     ["error \N{EN DASH}tensor-parallel-size: write --tensor-parallel-size: its dash is a long one"],
     "M --tensor-parallel-size 8"),
    (VLLM, "M --enable-prefix-caching False", ["error --enable-prefix-caching: write --no-enable-prefix-caching"],
     "M --no-enable-prefix-caching"),
    (VLLM, "M --enable-prefix-caching=true", ["error --enable-prefix-caching: write --enable-prefix-caching"],
     "M --enable-prefix-caching"),
    (VLLM, "M --headless false", ["error --headless: leave it out"], "M"),
    (VLLM, "M --no-headless", ["error --no-headless: leave it out"], "M"),
    (VLLM, "M --kv-o 1", ["error --kv-o: write one of --kv-offloading-backend, --kv-offloading-size"], None),
    (VLLM, "M --max-model-len 128KB", ["error --max-model-len: write 128K"], "M --max-model-len 128K"),
    (VLLM, "M --max-model-len 32,768", ["error --max-model-len: write 32768"], "M --max-model-len 32768"),
    (VLLM, "M --max-model-len 1.5K", ["error --max-model-len: write 1.5k"], None),
    (VLLM, "M --max-num-seqs 1k", ["error --max-num-seqs: write 1024"], "M --max-num-seqs 1024"),
    (VLLM, "M --port", ["error --port: None"], None),
    (VLLM, "M --port --host 0.0.0.0", ["error --port: None"], None),
    (VLLM, "M --chat-template -x", ["error --chat-template: write --chat-template=-x, if that is its value"], None),
    (VLLM, "M --gpu-memory-utilization 90", ["error --gpu-memory-utilization: write 0.9"], None),
    (VLLM, "M --gpu-memory-utilization 90%", ["error --gpu-memory-utilization: write 0.9"],
     "M --gpu-memory-utilization 0.9"),
    (VLLM, "M --dtype fp16", ["error --dtype: did you mean float16?"], "M --dtype float16"),
    (VLLM, "M --attention-backend FLASHINFR", ["error --attention-backend: did you mean FLASHINFER?"],
     "M --attention-backend FLASHINFER"),
    (VLLM, "M --distributed-executor-backend Ray", ["error --distributed-executor-backend: did you mean ray?"],
     "M --distributed-executor-backend ray"),
    (VLLM, "M --load-format safetensor", ["error --load-format: did you mean safetensors?"],
     "M --load-format safetensors"),
    (VLLM, "M --quantization deepspeedfp", ["error --quantization: None"], None),
    (VLLM, "M --quantization compressed_tensors", ["error --quantization: did you mean compressed-tensors?"],
     "M --quantization compressed-tensors"),
    (VLLM, "M --tool-call-parser kimi-k2 --enable-auto-tool-choice",
     ["error --tool-call-parser: did you mean kimi_k2?"],
     "M --tool-call-parser kimi_k2 --enable-auto-tool-choice"),
    (VLLM, "M --tool-call-parser kimi-k2", ["warning --tool-call-parser: did you mean kimi_k2?"],
     "M --tool-call-parser kimi_k2"),
    (VLLM, "M N", ["error N: None"], None),
    (VLLM, "--port 80 --served-model-name a M", ["error None: write the model as the first word"], None),
    (VLLM, "--served-model-name=a --port 80 M", ["error M: write vllm serve M, then the options"],
     "M --served-model-name=a --port 80"),
    (("vllm", "0.10.0"), "--model M --port 80", ["error --model: write vllm serve M"], "M --port 80"),
    (("vllm", "0.10.0"), "M --max-model-len auto", ["error --max-model-len: None"], None),
    (VLLM, "M --limit-mm-per-prompt image=2,video=1",
     ["error --limit-mm-per-prompt: write '{\"image\": 2, \"video\": 1}'"],
     "M --limit-mm-per-prompt '{\"image\": 2, \"video\": 1}'"),
    (VLLM, "M --speculative-config \"{'method': 'ngram', 'num_speculative_tokens': 3,}\"",
     ["error --speculative-config: write '{\"method\": \"ngram\", \"num_speculative_tokens\": 3}'"],
     "M --speculative-config '{\"method\": \"ngram\", \"num_speculative_tokens\": 3}'"),
    (VLLM, "M --speculative-config {method:ngram}",
     [QUOTES], None),
    (VLLM, "M --eplb-config '{\"windw_size\": 1, \"polcy\": \"default\"}'",
     ["error --eplb-config: did you mean window_size?", "error --eplb-config: did you mean policy?"],
     "M --eplb-config '{\"window_size\": 1, \"policy\": \"default\"}'"),
    (VLLM, "M --eplb-config.windw_size 1", ["error --eplb-config.windw_size: did you mean --eplb-config.window_size?"],
     "M --eplb-config.window_size 1"),
    (VLLM, "M --eplb-config.window_size many", ["error --eplb-config.window_size: None"], None),
    (VLLM, "M --eplb-config.num_redundant_experts -1", ["error --eplb-config.num_redundant_experts: None"], None),
    (VLLM, "M --speculative-config.method eagel3", ["error --speculative-config.method: did you mean eagle3?"],
     "M --speculative-config.method eagle3"),
    (("vllm", "0.10.0"), "M --compilation-config 3", ["error --compilation-config: None"], None),
    (VLLM, "M --compilation-config 3", ["error --compilation-config: None"], None),
    (VLLM, "M --compilation-config '{\"pass_config\": {\"fuse_norm\": true}}'",
     ["error --compilation-config: did you mean pass_config.fuse_norm_quant?"],
     "M --compilation-config '{\"pass_config\": {\"fuse_norm_quant\": true}}'"),
    (VLLM, "M --max-model-len.x 3", ["error --max-model-len.x: None"], None),
    (VLLM, "M --eplb-config '{\"window_size\": 1}' --eplb-config.use_async true",
     ["warning --eplb-config.use_async: None"], "M --eplb-config '{\"window_size\": 1}' --eplb-config.use_async true"),
    (VLLM, "M --lora-modules a=b=c", ["error --lora-modules: None"], None),
    (VLLM, "M --task embed", ["error --task: write --runner pooling --convert embed"],
     "M --runner pooling --convert embed"),
    (VLLM, "M --rope-scaling '{\"rope_type\": \"yarn\"}'",
     ["error --rope-scaling: write --hf-overrides '{\"rope_parameters\": {\"rope_type\": \"yarn\"}}'"],
     "M --hf-overrides '{\"rope_parameters\": {\"rope_type\": \"yarn\"}}'"),
    (VLLM, "M --mem-fraction-static 0.8", ["error --mem-fraction-static: write --gpu-memory-utilization"],
     "M --gpu-memory-utilization 0.8"),
    (SGLANG, "--model M --tensor_parallel_size 8", ["error --tensor_parallel_size: write --tensor-parallel-size"],
     "--model M --tensor-parallel-size 8"),
    (SGLANG, "--model M --pp 2", ["error --pp: write --pp-size"], "--model M --pp-size 2"),
    (SGLANG, "--model M --no-trust-remote-code", ["error --no-trust-remote-code: leave it out"], "--model M"),
    (SGLANG, "--tp 8", ["error --model-path: None"], None),
    (SGLANG, "--model M --enable-ep-moe --tp-size 16", ["error --enable-ep-moe: write --ep-size 16"],
     "--model M --ep-size 16 --tp-size 16"),
    (SGLANG, "--model M --max-model-len 4096", ["error --max-model-len: write --context-length"],
     "--model M --context-length 4096"),
    (SGLANG, "--model M --kv-cache-dtype fp8", ["error --kv-cache-dtype: did you mean fp8_e4m3?"],
     "--model M --kv-cache-dtype fp8_e4m3"),
    (SGLANG, "--model M --disable-cuda-graph",
     ["warning --disable-cuda-graph: write --cuda-graph-backend-decode disabled --cuda-graph-backend-prefill disabled"],
     "--model M --cuda-graph-backend-decode disabled --cuda-graph-backend-prefill disabled"),
    (SGLANG, "--model M --enable-flashinfer-allreduce-fusion",
     ["warning --enable-flashinfer-allreduce-fusion: write --flashinfer-allreduce-fusion-backend=auto"],
     "--model M --flashinfer-allreduce-fusion-backend=auto"),
    (SGLANG, "--model M --disable-fast-image-processor",
     ["warning --disable-fast-image-processor: write --image-processor-backend=pil"],
     "--model M --image-processor-backend=pil"),
    (TRTLLM, "M --tp-size 8", ["error --tp-size: write --tp_size"], "M --tp_size 8"),
    (TRTLLM, "M --tensor_parallel 8", ["error --tensor_parallel: did you mean --tensor_parallel_size?"],
     "M --tensor_parallel_size 8"),
    (TRTLLM, "--tp_size 8", ["error MODEL: None"], None),
    (TRTLLM, "M N", ["error N: None"], None),
    (TRTLLM, "M --host --port 8000", ["error --host: None"], None),
    (("kt-kernel", "0.7.2"), "k2 --tensor_parallel_size 4",
     ["error --tensor_parallel_size: write --tensor-parallel-size"],
     "k2 --tensor-parallel-size 4"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "line", "wanted", "right"), WRONG)
def test_what_a_parser_refuses(table: tuple[str, str], line: str, wanted: list[str], right: str | None) -> None:
    checked = read(*table, line)
    assert list(said(checked)) == wanted
    assert all(one.problem.source or one.problem.rule == "flag" for one in checked.findings)
    if right is not None:
        assert [one.text for one in tokens(repaired(*table, line) or "")] == [one.text for one in tokens(right)]


UNJUDGED: list[tuple[tuple[str, str], str]] = [
    (VLLM, "M --port $PORT --max-model-len ${LEN} --tool-call-parser $PARSER"),
    (VLLM, "M $EXTRA_ARGS 8 x"),
    (VLLM, "$MODEL_ARGS"),
    (VLLM, 'M --speculative-config "$SPEC"'),
    (VLLM, "M --$NAME 8"),
    (VLLM, "M ... --port 80"),
    (VLLM, "<model> --max-model-len <length>"),
    (VLLM, "M --tool-parser-plugin /x.py --tool-call-parser mine --enable-auto-tool-choice"),
    (VLLM, "M --quantization ascend"),
    (VLLM, "M --load-format my_loader"),
    (VLLM, "M --distributed-executor-backend my.module.Executor"),
    (VLLM, "--config serve.yaml"),
    (VLLM, "-cc.mode=0"),
    (SGLANG, "M --num-gpus 2 --ring-degree 2"),
    (VLLM, "--help"),
    (VLLM, "M --omni --deploy-config x.yaml --stage-id 1"),
    (VLLM, "M --port $A --port 2"),
    (SGLANG, "$ARGS"),
    (SGLANG, "--config serve.yaml"),
    (TRTLLM, "$ARGS"),
]


@pytest.mark.parametrize(("table", "line"), UNJUDGED)
def test_what_only_the_run_knows_is_not_reported(table: tuple[str, str], line: str) -> None:
    assert list(said(read(*table, line))) == []


def test_what_is_wrong_beside_a_variable_is_still_found() -> None:
    assert said(read(*VLLM, "$M $ARGS --swap-space 32 --port x")) == [
        SWAP,
        "error --port: None",
    ]


def test_a_python_module_reads_no_model_from_a_word() -> None:
    assert said(read(*VLLM, "M --port 80", module=True)) == ["error M: write --model M"]
    assert said(read(*VLLM, "--model M --served-model-name a", module=True)) == []


def test_sglang_serve_takes_the_model_as_a_word_since_the_release_that_does() -> None:
    assert said(read("sglang", "0.5.23", "M --tp 8")) == []
    assert said(read("sglang", "0.5.23", "M --tp 8", module=True)) == ["error M: None", "error --model-path: None"]
    assert said(read("sglang", "0.5.9", "M --tp 8")) == ["error M: None", "error --model-path: None"]


def test_places_and_positions() -> None:
    words = [Token(text="M", line=3), Token(text="--port", line=4), Token(text="x", line=5)]
    checked = check(load(*VLLM), words)
    (option,) = checked.options
    assert (option.name, option.written, option.at, option.words) == ("--port", "--port", 1, 2)
    assert [one.problem.where for one in checked.findings] == ["line 4"]
    assert [one.text for one in checked.positionals] == ["M"]


@pytest.mark.parametrize("keys", [41, 500, 20_000])
def test_an_option_of_many_dots_is_refused_and_not_followed(keys: int) -> None:
    found = read("vllm", "0.19.1", f"m --hf-overrides{'.a' * keys} 1 --hf-overrides.b 2")
    [problem] = [one.problem for one in found.findings]
    assert (problem.level, problem.wanted) == ("error", "at most 40")
    assert [one.value for one in found.options] == [{"b": 2}] * 2


def test_deep_json_is_read_to_a_bound() -> None:
    deep = '{"a":' * 900 + "1" + "}" * 900
    lists = "[" * 100_000
    found = read("vllm", "0.19.1", f"m --hf-overrides.b '{deep}' --lora-modules {lists}")
    assert [one.problem.token for one in found.findings] == ["--lora-modules"]
