"""Launch lines of the five documents and of the vendors: what is wrong is found with its fix, and nothing else is."""

import pytest

from infra.flags.check import check
from infra.flags.table import load
from tests.unit.flags.lines import read, repaired, said, tokens

BASELINE = (
    "$M --tensor-parallel-size 8 --mm-encoder-tp-mode data --tool-call-parser kimi_k2 --reasoning-parser kimi_k2 "
    "--enable-auto-tool-choice --trust-remote-code"
)
CORRECTED = (
    "$M --served-model-name moonshotai/Kimi-K2.5 --tensor-parallel-size 8 --mm-encoder-tp-mode data "
    "--gpu-memory-utilization 0.92 --max-model-len 65536 --kv-cache-dtype fp8 --max-num-batched-tokens 8192 "
    "--enable-expert-parallel --enable-ep-weight-filter --tool-call-parser kimi_k2 --reasoning-parser kimi_k2 "
    '--enable-auto-tool-choice --speculative-config \'{"model":"a/b","method":"eagle3","num_speculative_tokens":3}\' '
    "--trust-remote-code"
)
KT = (
    "--model D --kt-weight-path D --kt-method RAWINT4 --kt-cpuinfer 96 --kt-threadpool-count 2 --kt-num-gpu-experts 30 "
    "--kt-gpu-prefill-token-threshold 400 --trust-remote-code --mem-fraction-static 0.94 --enable-mixed-chunk "
    "--tensor-parallel-size 4 --enable-p2p-check --disable-shared-experts-fusion --chunked-prefill-size 32658 "
    "--max-total-tokens 50000 --attention-backend flashinfer"
)
PREFILL = (
    "--model-path $M --trust-remote-code --disaggregation-mode prefill --dist-init-addr $A:5757 "
    "--tp-size 32 --dp-size 32 "
    "--enable-dp-attention --enable-deepep-moe --deepep-mode normal --moe-dense-tp-size 1 --enable-dp-lm-head "
    "--ep-num-redundant-experts 32 --eplb-algorithm deepseek --ep-dispatch-algorithm dynamic "
    "--watchdog-timeout 1000000 "
    "--disable-shared-experts-fusion --enable-two-batch-overlap --host 0.0.0.0"
)

SWAP = (
    "error --swap-space: leave it out; for KV in host memory write --kv-offloading-size GIB "
    "--kv-offloading-backend native"
)
WRONG: list[tuple[str, str, str, list[str], str | None]] = [
    (
        "vllm",
        "0.19.1",
        f"{BASELINE} --swap-space 32",
        [SWAP],
        BASELINE,
    ),
    (
        "vllm",
        "0.33.0",
        f"{BASELINE} --swap-space 32",
        [SWAP],
        BASELINE,
    ),
    (
        "vllm",
        "0.19.1",
        f"{BASELINE} --skip-non-local-expert-weights",
        ["error --skip-non-local-expert-weights: write --enable-ep-weight-filter"],
        f"{BASELINE} --enable-ep-weight-filter",
    ),
    (
        "vllm",
        "0.19.1",
        f"{BASELINE} --quantization-param-path /scales.json",
        ["error --quantization-param-path: leave it out"],
        BASELINE,
    ),
    ("vllm", "0.33.0", f"{BASELINE} --calculate-kv-scales", ["error --calculate-kv-scales: leave it out"], BASELINE),
    (
        "huggingface-hub",
        "2.4.0",
        "moonshotai/Kimi-K2.5 --local-dir $D --local-dir-use-symlinks False",
        ["error --local-dir-use-symlinks: leave it out"],
        "moonshotai/Kimi-K2.5 --local-dir $D",
    ),
    (
        "sglang",
        "0.5.9",
        PREFILL,
        ["error --enable-deepep-moe: write --moe-a2a-backend deepep"],
        PREFILL.replace("--enable-deepep-moe", "--moe-a2a-backend deepep"),
    ),
    (
        "sglang",
        "0.5.23",
        PREFILL,
        [
            "warning --enable-dp-attention: write --attn-dp-size 32",
            "error --enable-deepep-moe: write --moe-a2a-backend deepep",
        ],
        PREFILL.replace("--dp-size 32 --enable-dp-attention", "--attn-dp-size 32").replace(
            "--enable-deepep-moe", "--moe-a2a-backend deepep"
        ),
    ),
    (
        "sglang",
        "0.5.23",
        "--model-path M --tp-size 96 --cuda-graph-bs 480",
        ["error --cuda-graph-bs: write --cuda-graph-bs-decode"],
        "--model-path M --tp-size 96 --cuda-graph-bs-decode 480",
    ),
    (
        "sglang",
        "0.5.9",
        "--model-path M --kt-amx-weight-path D --kt-amx-method AMXINT4",
        ["error --kt-amx-weight-path: write --kt-weight-path", "error --kt-amx-method: write --kt-method"],
        "--model-path M --kt-weight-path D --kt-method AMXINT4",
    ),
    ("sglang", "0.5.9", KT, ["error --kt-gpu-prefill-token-threshold: None"], None),
    ("sglang", "0.5.23", KT, ["error --kt-gpu-prefill-token-threshold: None"], None),
    ("vllm", "0.19.1", f"{BASELINE} --disable-log-requests", ["error --disable-log-requests: leave it out"], BASELINE),
    (
        "vllm",
        "0.19.1",
        f"{BASELINE} --num-redundant-experts 32 --eplb-window-size 1000",
        [
            "error --num-redundant-experts: write --eplb-config.num_redundant_experts",
            "error --eplb-window-size: write --eplb-config.window_size",
        ],
        f"{BASELINE} --eplb-config.num_redundant_experts 32 --eplb-config.window_size 1000",
    ),
    ("vllm", "0.10.0", "M --reasoning-parser kimi_k2", ["error --reasoning-parser: None"], None),
    (
        "vllm-bench-serve",
        "0.19.1",
        "--model M --endpoint-type vllm",
        ["error --endpoint-type: write --backend"],
        "--model M --backend vllm",
    ),
    (
        "trtllm",
        "1.3.0rc3",
        "M --tp-size 16 --host 0.0.0.0",
        ["error --tp-size: write --tp_size"],
        "M --tp_size 16 --host 0.0.0.0",
    ),
]


@pytest.mark.parametrize(("engine", "release", "line", "wanted", "right"), WRONG)
def test_what_would_not_work_is_found_with_its_fix(
    engine: str, release: str, line: str, wanted: list[str], right: str | None
) -> None:
    assert said(read(engine, release, line)) == wanted
    fixed = repaired(engine, release, line)
    if right is None:
        assert fixed is None
        return
    assert fixed is not None
    assert fixed.replace("'", "").split() == right.replace("'", "").split()
    assert said(read(engine, release, right)) == []


DP16 = (
    "$M --port 8000 --served-model-name kimi-k2 --trust-remote-code --data-parallel-size 16 "
    "--data-parallel-size-local 8 "
    "--data-parallel-address $IP --data-parallel-rpc-port $PORT --enable-expert-parallel --max-num-batched-tokens 8192 "
    "--max-num-seqs 256 --gpu-memory-utilization 0.85 --enable-auto-tool-choice --tool-call-parser kimi_k2 --headless "
    "--data-parallel-start-rank 8"
)
K25_TP16 = (
    "--model-path $M --tp 16 --context-length 262144 --mem-fraction-static 0.85 --nnodes 2 --node-rank 0 "
    "--dist-init-addr $IP:50000 --dist-timeout 600 "
    '--model-loader-extra-config \'{"enable_multithread_load": true, "num_threads": 8}\''
)
EAGLE3_SGLANG = (
    "--model-path $M --tp 8 --speculative-algorithm EAGLE3 --speculative-num-steps 3 --speculative-eagle-topk 1 "
    "--speculative-num-draft-tokens 4 --speculative-draft-model-path lightseekorg/kimi-k2.5-eagle3"
)
BENCH = (
    "--backend vllm --model moonshotai/Kimi-K2.5 --dataset-name random --random-input-len 1024 --num-prompts 100 "
    "--request-rate inf --max-concurrency 64 --percentile-metrics ttft,tpot"
)

RIGHT: list[tuple[str, str, str]] = [
    ("vllm", "0.19.1", BASELINE),
    ("vllm", "0.33.0", BASELINE),
    ("vllm", "0.19.1", CORRECTED),
    ("vllm", "0.33.0", CORRECTED),
    (
        "vllm",
        "0.19.1",
        f"{CORRECTED} --no-async-scheduling --enable-prefix-caching --enable-chunked-prefill --dtype bfloat16",
    ),
    ("vllm", "0.19.1", f"{CORRECTED} --kv-offloading-size 64 --kv-offloading-backend native"),
    ("vllm", "0.19.1", BASELINE + ' --enable-eplb --eplb-config \'{"window_size":1000,"step_interval":1000}\''),
    ("vllm", "0.19.1", BASELINE + " --default-chat-template-kwargs '{\"thinking\": false}'"),
    ("vllm", "0.19.1", "moonshotai/Kimi-K2.5 -tp 8 --mm-encoder-tp-mode data --trust-remote-code -dcp 8"),
    (
        "vllm",
        "0.33.0",
        "moonshotai/Kimi-K2.5 -tp 8 --language-model-only --trust-remote-code --decode-context-parallel-size 8",
    ),
    ("vllm", "0.19.1", "$M -tp 8 -pp 2 --nnodes 2 --node-rank 1 --master-addr $IP --headless"),
    ("vllm", "0.19.1", "$M -tp 16 --distributed-executor-backend ray"),
    (
        "vllm",
        "0.10.0",
        DP16,
    ),
    (
        "vllm",
        "0.33.0",
        "$M --data-parallel-hybrid-lb -dp 16 --enable-expert-parallel --all2all-backend deepep_low_latency",
    ),
    (
        "sglang",
        "0.5.9",
        "--model-path $M --tp 16 --dist-init-addr $A:50000 --nnodes 2 --node-rank 0 --trust-remote-code",
    ),
    (
        "sglang",
        "0.5.23",
        "--model-path $M --tp 8 --trust-remote-code --tool-call-parser kimi_k2 --reasoning-parser kimi_k2",
    ),
    ("sglang", "0.5.9", "--model-path $M --tp 8 --dp 8 --enable-dp-attention --context-length 128000"),
    ("sglang", "0.4.9.post6", PREFILL),
    (
        "sglang",
        "0.5.10.post1",
        K25_TP16,
    ),
    (
        "sglang",
        "0.5.9",
        EAGLE3_SGLANG,
    ),
    ("sglang-kt", "0.7.2", KT),
    (
        "trtllm",
        "1.3.0rc3",
        "serve $M --host 0.0.0.0 --port 8000 --config $Y --tp_size 16 --ep_size 8 --trust_remote_code",
    ),
    (
        "trtllm",
        "main-2026",
        "$M --backend pytorch --extra_llm_api_options y.yml --kv_cache_free_gpu_memory_fraction 0.95",
    ),
    (
        "sglang-router",
        "0.3.2",
        "--pd-disaggregation --prefill http://p:30000 9000 --prefill http://q:30000 --decode http://d:30000 --mini-lb",
    ),
    ("huggingface-hub", "2.4.0", "moonshotai/Kimi-K2.5 --local-dir $DIR"),
    ("huggingface-cli", "0.36.2", "moonshotai/Kimi-K2.5 --local-dir $DIR --local-dir-use-symlinks False"),
    (
        "vllm-bench-serve",
        "0.19.1",
        BENCH,
    ),
    ("kt-kernel", "0.7.2", "k2-thinking --gpu-experts 4 --tp 2 --fp8-gemm-backend triton --dry-run"),
]


@pytest.mark.parametrize(("engine", "release", "line"), RIGHT)
def test_what_works_is_not_reported(engine: str, release: str, line: str) -> None:
    table = load(engine, release)
    problems = [str(one.problem) for one in check(table, tokens(line)).findings if one.problem.level == "error"]
    assert problems == []


def test_the_history_of_a_removed_option_is_told() -> None:
    (finding,) = read("vllm", "0.19.1", "M --swap-space 32").findings
    assert "the last release read that has it is 0.17.1" in finding.problem.why
    (finding,) = read("sglang", "0.5.9", KT).findings
    assert "sglang-kt 0.7.2 has it" in finding.problem.why
    (finding,) = read("vllm", "0.10.0", "M --nnodes 2").findings
    assert "it came after this release; 0.11.2 has it" in finding.problem.why
