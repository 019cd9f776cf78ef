"""The commands of the five documents: as they are written, with every problem known of them; corrected, with none."""

from dataclasses import dataclass

import pytest

from infra.lint.lint import lint

FLAG, GONE = "flag", "flag-deprecated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command of a document: as it stands there, its problems as (rule, token), and what it should be."""

    name: str
    engine: str | None = None
    release: str | None = None
    written: str
    problems: frozenset[tuple[str, str | None]] = frozenset()
    corrected: str


def found(text: str, command: Command) -> set[tuple[str, str | None]]:
    result = lint(text, "document", command.engine, command.release)
    return {(problem.rule, problem.token) for problem in result.problems}


INSTALL = "pip install 'vllm[bench]==0.19.1'\n"
PATHS = (
    "MODEL_PATH=/projects/${SLURM_JOB_ACCOUNT}/models/kimi-k2.5\nEAGLE3_PATH=/projects/$A/models/kimi-k2.5-eagle3-mla\n"
)
PARSERS = "--tool-call-parser kimi_k2 --reasoning-parser kimi_k2 --enable-auto-tool-choice --trust-remote-code"
DRAFT = (
    '--speculative-config "{\\"model\\": \\"${EAGLE3_PATH}\\", '
    '\\"method\\": \\"eagle3\\", \\"num_speculative_tokens\\": 3}"'
)
BASELINE = f"{PATHS}vllm serve ${{MODEL_PATH}} --tensor-parallel-size 8 --mm-encoder-tp-mode data {PARSERS}"
OPTIMISED = f"""{PATHS}vllm serve ${{MODEL_PATH}} \\
    --tensor-parallel-size 8 \\
    --mm-encoder-tp-mode data \\
    --gpu-memory-utilization 0.92 \\
    --max-model-len 65536 \\
    --dtype bfloat16 \\
    --kv-cache-dtype fp8 \\
    --enable-prefix-caching \\
    --enable-chunked-prefill \\
    --max-num-batched-tokens 8192 \\
    --swap-space 32 \\
    --enable-expert-parallel \\
    --enable-eplb \\
    --eplb-config '{{"window_size": 1000, "step_interval": 1000}}' \\
    --skip-non-local-expert-weights \\
    {DRAFT} \\
    {PARSERS}
"""
OPTIMISED_RIGHT = f"""{PATHS}vllm serve ${{MODEL_PATH}} --served-model-name moonshotai/Kimi-K2.5 \\
    --tensor-parallel-size 8 --mm-encoder-tp-mode data --gpu-memory-utilization 0.92 --max-model-len 65536 \\
    --kv-cache-dtype fp8 --max-num-batched-tokens 8192 --enable-expert-parallel --enable-ep-weight-filter \\
    {DRAFT} {PARSERS}
"""
BENCH = """vllm bench serve --base-url http://node:8000 --backend openai-chat --endpoint /v1/chat/completions \\
    --model moonshotai/Kimi-K2.5 --dataset-name hf --dataset-path lmarena-ai/VisionArena-Chat --num-prompts 1000 \\
    --request-rate 20 --trust-remote-code
"""
TUNE = "python benchmarks/kernels/benchmark_moe.py --model ${MODEL_PATH} --tp-size 8 --dtype bfloat16 --tune\n"
DOWNLOAD = "huggingface-cli download moonshotai/Kimi-K2.5 --local-dir ${MODEL_DIR} --local-dir-use-symlinks False\n"

DGX_H200 = (
    Command(
        name="baseline",
        release="0.19.1",
        written=BASELINE,
        corrected=BASELINE.replace("${MODEL_PATH}", "${MODEL_PATH} --served-model-name moonshotai/Kimi-K2.5"),
    ),
    Command(
        name="optimised",
        release="0.19.1",
        written=OPTIMISED,
        problems=frozenset(
            {
                (FLAG, "--swap-space"),
                (FLAG, "--skip-non-local-expert-weights"),
                ("eplb-quantization", "--enable-eplb"),
            }
        ),
        corrected=OPTIMISED_RIGHT,
    ),
    Command(
        name="optimised-pinned-by-the-text",
        written=f"{INSTALL}{OPTIMISED}",
        problems=frozenset(
            {
                (FLAG, "--swap-space"),
                (FLAG, "--skip-non-local-expert-weights"),
                ("eplb-quantization", "--enable-eplb"),
            }
        ),
        corrected=f"{INSTALL}{OPTIMISED_RIGHT}",
    ),
    Command(
        name="calibrated-scales",
        release="0.19.1",
        written="vllm serve /m --kv-cache-dtype fp8 --quantization-param-path /scales.json",
        problems=frozenset({(FLAG, "--quantization-param-path")}),
        corrected="vllm serve /m --kv-cache-dtype fp8",
    ),
    Command(
        name="calibrated-scales-in-prose",
        release="0.19.1",
        written=f"{BASELINE}\n\nGive a file of scales with `--quantization-param-path`.\n",
        problems=frozenset({("advised-option", "--quantization-param-path")}),
        corrected=BASELINE,
    ),
    Command(
        name="balancer",
        release="0.19.1",
        written="vllm serve moonshotai/Kimi-K2-Instruct -tp 8 --trust-remote-code -ep --enable-eplb "
        """--eplb-config '{"window_size": 1000, "step_interval": 500}'""",
        problems=frozenset({("eplb-interval", "--eplb-config")}),
        corrected="vllm serve moonshotai/Kimi-K2-Instruct -tp 8 --trust-remote-code -ep --enable-eplb "
        """--eplb-config '{"window_size": 1000, "step_interval": 1000}'""",
    ),
    Command(
        name="tuning",
        release="0.19.1",
        written=f"{PATHS}{TUNE}",
        problems=frozenset({("moe-benchmark-dtype", "--dtype")}),
        corrected=PATHS,
    ),
    Command(
        name="download",
        written=f"pip install vllm==0.19.1\npip install 'huggingface_hub[cli]'\n{DOWNLOAD}",
        problems=frozenset(
            {
                ("huggingface-cli", "huggingface-cli"),
                ("huggingface-hub-extra", "huggingface_hub[cli]"),
                (FLAG, "--local-dir-use-symlinks"),
            }
        ),
        corrected="pip install vllm==0.19.1\nhf download moonshotai/Kimi-K2.5 --local-dir ${MODEL_DIR}\n",
    ),
    Command(
        name="benchmark",
        written=f"{INSTALL}{BASELINE}\n{BENCH}",
        problems=frozenset({("served-model-name", "--model")}),
        corrected=f"{INSTALL}{BASELINE} --served-model-name moonshotai/Kimi-K2.5\n{BENCH}",
    ),
    Command(
        name="benchmark-packages",
        written=f"pip install vllm==0.19.1\n{BASELINE} --served-model-name moonshotai/Kimi-K2.5\n{BENCH}",
        problems=frozenset({("bench-extra", "--dataset-name")}),
        corrected=f"{INSTALL}{BASELINE} --served-model-name moonshotai/Kimi-K2.5\n{BENCH}",
    ),
    Command(
        name="thinking",
        release="0.19.1",
        written=f'{BASELINE}\n\nPass `thinking_token_budget: 0` to turn it off.\n',
        problems=frozenset({("thinking-token-budget", "thinking_token_budget")}),
        corrected=f'{BASELINE}\n\nPass `chat_template_kwargs: {{"thinking": false}}` to turn it off.\n',
    ),
)  # fmt: skip

SERVE_K2 = "vllm serve $MODEL_PATH --port 8000 --served-model-name kimi-k2 --trust-remote-code"
TOOLS = "--enable-auto-tool-choice --tool-call-parser kimi_k2"
TP16 = f"# start ray on node 0 and node 1\n{SERVE_K2} --tensor-parallel-size 16 {TOOLS}\n"
DATA = (
    "--data-parallel-size 16 --data-parallel-size-local 8 --data-parallel-address $MASTER_IP "
    "--data-parallel-rpc-port $PORT --enable-expert-parallel --max-num-batched-tokens 8192 --max-num-seqs 256 "
    "--gpu-memory-utilization 0.85"
)
DP16 = f"""{SERVE_K2} {DATA} {TOOLS}
vllm serve $MODEL_PATH --headless --data-parallel-start-rank 8 --port 8000 --served-model-name kimi-k2 \\
    --trust-remote-code {DATA} {TOOLS}
"""
SGLANG = "python -m sglang.launch_server --model-path $MODEL_PATH"
SGLANG_TP16 = "".join(
    f"{SGLANG} --tp 16 --dist-init-addr $MASTER_IP:50000 --nnodes 2 --node-rank {rank} --trust-remote-code "
    "--tool-call-parser kimi_k2\n"
    for rank in (0, 1)
)
PREFILL = f"""MC_TE_METRIC=true SGLANG_DISAGGREGATION_HEARTBEAT_INTERVAL=10000000 PYTHONUNBUFFERED=1 \\
{SGLANG} --trust-remote-code --disaggregation-mode prefill --dist-init-addr $PREFILL_NODE0$:5757 --tp-size 32 \\
--dp-size 32 --enable-dp-attention --host $LOCAL_IP --decode-log-interval 1 --disable-radix-cache --enable-deepep-moe \\
--moe-dense-tp-size 1 --enable-dp-lm-head --disable-shared-experts-fusion --watchdog-timeout 1000000 \\
--enable-two-batch-overlap --disaggregation-ib-device $IB_DEVICE --chunked-prefill-size 131072 \\
--mem-fraction-static 0.85 --deepep-mode normal --ep-dispatch-algorithm dynamic --eplb-algorithm deepseek \\
--max-running-requests 1024 --nnodes 4 --node-rank $RANK --tool-call-parser kimi_k2
"""
DECODE = f"""SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK=480 MC_TE_METRIC=true PYTHONUNBUFFERED=1 \\
{SGLANG} --trust-remote-code --disaggregation-mode decode --dist-init-addr $DECODE_NODE0:5757 --tp-size 96 \\
--dp-size 96 --enable-dp-attention --host $LOCAL_IP --decode-log-interval 1 --context-length 2176 \\
--disable-radix-cache --enable-deepep-moe --moe-dense-tp-size 1 --enable-dp-lm-head --disable-shared-experts-fusion \\
--watchdog-timeout 1000000 --enable-two-batch-overlap --disaggregation-ib-device $IB_DEVICE --deepep-mode low_latency \\
--mem-fraction-static 0.8 --cuda-graph-bs 480 --max-running-requests 46080 --ep-num-redundant-experts 96 --nnodes 12 \\
--node-rank $RANK --tool-call-parser kimi_k2
"""
NEW_MOE = ("--enable-deepep-moe", "--moe-a2a-backend deepep")
RIGHT_PREFILL = PREFILL.replace("NODE0$:", "NODE0:").replace(*NEW_MOE)
RIGHT_DECODE = DECODE.replace(*NEW_MOE)
DP_ATTENTION = ("--dp-size 32 --enable-dp-attention", "--attn-dp-size 32")
BALANCER = "PYTHONUNBUFFERED=1 python -m {} --prefill http://${{PREFILL_NODE0}}:30000 --decode http://${{DECODE_NODE0}}:30000\n"
LEGACY = "python ktransformers/server/main.py --model_path /path/to/K2 --gguf_path /path/to/K2 --cache_lens 30000"
LEGACY_AMX = f"{LEGACY} --optimize_config_path ktransformers/optimize/optimize_rules/DeepSeek-V3-Chat-serve-amx.yaml"
KT = "python -m sglang.launch_server --model /m/K2 --kt-weight-path /m/K2-gguf --kt-method {} --trust-remote-code"
TRTLLM = """cat >/path/to/extra-llm-api-config.yml <<EOF
cuda_graph_config:
  {padding}: true
  batch_sizes:
    - 1
    - 128
print_iter_log: true
enable_attention_dp: true
EOF
mpirun -np 16 -H <HOST1>:8,<HOST2>:8 -mca plm_rsh_args "-p 2233" --allow-run-as-root \\
trtllm-llmapi-launch trtllm-serve serve {backend}--tp_size 16 --ep_size 8 --kv_cache_free_gpu_memory_fraction 0.95 \\
--trust_remote_code --max_batch_size 128 --max_num_tokens 4096 \\
--extra_llm_api_options /path/to/extra-llm-api-config.yml {host}--port 8000 <YOUR_MODEL_DIR>
"""
TRTLLM_WRONG = TRTLLM.format(padding="padding_enabled", backend="--backend pytorch ", host="")

KIMI_K2 = (
    Command(
        name="tp16-then",
        engine="vllm",
        release="0.10.0",
        written=TP16,
        corrected=TP16,
    ),
    Command(
        name="tp16-0.19.1",
        engine="vllm",
        release="0.19.1",
        written=TP16,
        problems=frozenset({("world-size", "--tensor-parallel-size")}),
        corrected=f"pip install vllm ray\n{TP16.strip()} --distributed-executor-backend ray\n",
    ),
    Command(
        name="tp16-now",
        engine="vllm",
        release="0.33.0",
        written=TP16,
        problems=frozenset({("world-size", "--tensor-parallel-size")}),
        corrected=f"{SERVE_K2} --tensor-parallel-size 16 {TOOLS} --nnodes 2 --node-rank 0 --master-addr $IP\n"
        f"{SERVE_K2} --tensor-parallel-size 16 {TOOLS} --nnodes 2 --node-rank 1 --master-addr $IP --headless\n",
    ),
    *(
        Command(name=f"dp16-{release}", engine="vllm", release=release, written=DP16, corrected=DP16)
        for release in ("0.10.0", "0.19.1", "0.33.0")
    ),
    *(
        Command(name=f"sglang-tp16-{release}", release=release, written=SGLANG_TP16, corrected=SGLANG_TP16)
        for release in ("0.4.9.post6", "0.5.9", "0.5.10.post1", "0.5.23")
    ),
    Command(
        name="prefill-then",
        release="0.4.9.post6",
        written=PREFILL,
        problems=frozenset({("stray-dollar", "--dist-init-addr")}),
        corrected=PREFILL.replace("NODE0$:", "NODE0:"),
    ),
    Command(
        name="prefill-0.5.9",
        release="0.5.9",
        written=PREFILL,
        problems=frozenset({("stray-dollar", "--dist-init-addr"), (FLAG, "--enable-deepep-moe")}),
        corrected=RIGHT_PREFILL,
    ),
    Command(
        name="prefill-now",
        release="0.5.23",
        written=PREFILL,
        problems=frozenset(
            {
                ("stray-dollar", "--dist-init-addr"),
                (FLAG, "--enable-deepep-moe"),
                (GONE, "--enable-dp-attention"),
            }
        ),
        corrected=RIGHT_PREFILL.replace("--dp-size 32 --enable-dp-attention", "--attn-dp-size 32").replace(
            "\\\n--dp-size 32 --enable-dp-attention", "\\\n--attn-dp-size 32"
        ),
    ),
    Command(name="decode-then", release="0.4.9.post6", written=DECODE, corrected=DECODE),
    Command(
        name="decode-now",
        release="0.5.23",
        written=DECODE,
        problems=frozenset({(FLAG, "--enable-deepep-moe"), (FLAG, "--cuda-graph-bs"), (GONE, "--enable-dp-attention")}),
        corrected=RIGHT_DECODE.replace("--dp-size 96 --enable-dp-attention", "--attn-dp-size 96").replace(
            "--cuda-graph-bs ", "--cuda-graph-bs-decode "
        ),
    ),
    Command(
        name="load-balancer",
        release="0.5.23",
        written=BALANCER.format("sglang.srt.disaggregation.launch_lb"),
        problems=frozenset({("load-balancer-module", "sglang.srt.disaggregation.launch_lb")}),
        corrected=BALANCER.format("sglang_router.launch_router --pd-disaggregation"),
    ),
    Command(
        name="ktransformers",
        written=LEGACY,
        problems=frozenset({("ktransformers-server", "ktransformers/server/main.py")}),
        corrected=KT.format("LLAMAFILE"),
    ),
    Command(
        name="ktransformers-amx",
        written=LEGACY_AMX,
        problems=frozenset({("ktransformers-server", "ktransformers/server/main.py")}),
        corrected=KT.format("AMXINT4"),
    ),
    Command(
        name="trtllm-1.3.0rc3",
        engine="trtllm",
        release="1.3.0rc3",
        written=TRTLLM_WRONG,
        problems=frozenset({("trtllm-yaml", "padding_enabled"), ("localhost", None)}),
        corrected=TRTLLM.format(padding="enable_padding", backend="--backend pytorch ", host="--host 0.0.0.0 "),
    ),
    Command(
        name="trtllm-now",
        engine="trtllm",
        release="main-2026",
        written=TRTLLM_WRONG,
        problems=frozenset({("trtllm-yaml", "padding_enabled"), ("localhost", None), (GONE, "--backend")}),
        corrected=TRTLLM.format(padding="enable_padding", backend="", host="--host 0.0.0.0 "),
    ),
)

KT_LINE = (
    "python -m sglang.launch_server --model /models/kimi-k2.5 --kt-weight-path /models/kimi-k2.5 --kt-method RAWINT4 "
    "--kt-cpuinfer 96 --kt-threadpool-count 2 --kt-num-gpu-experts 30 --kt-gpu-prefill-token-threshold 400 "
    "--trust-remote-code --mem-fraction-static 0.94 --enable-mixed-chunk --tensor-parallel-size 2 --enable-p2p-check "
    "--disable-shared-experts-fusion --chunked-prefill-size 8192 --max-total-tokens 50000 "
    "--attention-backend flashinfer --host 0.0.0.0 --port 31245 --served-model-name Kimi-K2.5"
)
TORCHSPEC = (
    "python -m sglang.launch_server --model-path moonshotai/Kimi-K2.5 --tp-size 16 --nnodes 2 --node-rank $NODE_RANK "
    "--dist-init-addr $DIST_INIT_ADDR --dist-timeout 600 --host 0.0.0.0 --port 12346 --context-length 262144 "
    "--mem-fraction-static 0.85 --enable-multimodal --enable-metrics --tool-call-parser kimi_k2 "
    "--reasoning-parser kimi_k2 --trust-remote-code "
    """--model-loader-extra-config '{"enable_multithread_load": true, "num_threads": 32}' """
    "--disable-flashinfer-autotune"
)
OTHERS = (
    Command(name="kt-fork", engine="sglang-kt", release="0.7.2", written=KT_LINE, corrected=KT_LINE),
    *(
        Command(
            name=f"kt-upstream-{release}",
            engine="sglang",
            release=release,
            written=KT_LINE,
            problems=frozenset({(FLAG, "--kt-gpu-prefill-token-threshold")}),
            corrected=KT_LINE.replace("--kt-gpu-prefill-token-threshold 400 ", ""),
        )
        for release in ("0.5.9", "0.5.23")
    ),
    Command(
        name="kt-method-misspelt",
        engine="sglang-kt",
        release="0.7.2",
        written=KT_LINE.replace("RAWINT4", "RAW_INT4"),
        problems=frozenset({("kt-method", "--kt-method")}),
        corrected=KT_LINE,
    ),
    Command(
        name="kt-method-missing",
        engine="sglang-kt",
        release="0.7.2",
        written=KT_LINE.replace("--kt-method RAWINT4 ", ""),
        problems=frozenset({("kt-method-default", "--kt-weight-path")}),
        corrected=KT_LINE,
    ),
    *(
        Command(name=f"torchspec-{release}", engine="sglang", release=release, written=TORCHSPEC, corrected=TORCHSPEC)
        for release in ("0.5.9", "0.5.10.post1", "0.5.23")
    ),
)
COMMANDS = DGX_H200 + KIMI_K2 + OTHERS


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_exactly_the_known_problems_are_found(command: Command) -> None:
    assert found(command.written, command) == set(command.problems)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_corrected_line_has_none(command: Command) -> None:
    assert found(command.corrected, command) == set()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_what_lint_writes_instead_has_no_error(command: Command) -> None:
    result = lint(command.written, "document", command.engine, command.release)
    for one in result.commands:
        if one.corrected is None:
            continue
        again = lint(" ".join(map(_quoted, one.corrected)), "again", one.engine, one.release)
        errors = [problem for problem in again.problems if problem.level == "error"]
        assert errors == [], " ".join(one.corrected)


def _quoted(word: str) -> str:
    """A word for a shell; variables stay variables."""
    plain = word.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`")
    return word if word.isidentifier() else f'"{plain}"'
