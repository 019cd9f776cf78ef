"""What vLLM's own configuration refuses, or takes and does nothing with."""

from collections.abc import Iterator

from infra.rules.rule import VLLM, Breach, Rule
from infra.rules.subject import Subject

_SCHEDULER = "vllm 0.19.1, vllm/config/scheduler.py: verify_max_model_len"
_SERVE = "vllm 0.19.1, vllm/entrypoints/openai/cli_args.py: validate_parsed_serve_args"


def _auto_tool_choice(s: Subject) -> Iterator[Breach]:
    if s.given("enable-auto-tool-choice") and "tool-call-parser" not in s.options:
        kimi = "kimi" in s.written_model.lower()
        yield Breach(
            options=("enable-auto-tool-choice",),
            found="--enable-auto-tool-choice without --tool-call-parser",
            wanted="both",
            fix=f"add --tool-call-parser {'kimi_k2' if kimi else 'NAME'}",
            edit=s.edit(add=(("--tool-call-parser", "kimi_k2"),)) if kimi else None,
        )


def _parser_alone(s: Subject) -> Iterator[Breach]:
    if not s.commanded and "tool-call-parser" in s.options and not s.given("enable-auto-tool-choice"):
        yield Breach(
            options=("tool-call-parser",),
            found="tool-call-parser without enable-auto-tool-choice",
            wanted="both",
            fix="add enable-auto-tool-choice: true",
            edit=s.edit(add=(("--enable-auto-tool-choice",),)),
        )


def _log_outputs(s: Subject) -> Iterator[Breach]:
    if s.given("enable-log-outputs") and not s.given("enable-log-requests"):
        yield Breach(
            options=("enable-log-outputs",),
            found="--enable-log-outputs without --enable-log-requests",
            wanted="both",
            fix="add --enable-log-requests",
            edit=s.edit(add=(("--enable-log-requests",),)),
        )


def _batch_below_sequences(s: Subject) -> Iterator[Breach]:
    tokens, sequences = s.number("max-num-batched-tokens"), s.number("max-num-seqs")
    active = s.number("max-num-active-seqs")
    if active is not None and sequences is not None and active > sequences:
        yield Breach(options=("max-num-active-seqs",), found=f"{active} of {sequences} sequences", wanted="at most all")
    if tokens is not None and sequences is not None and tokens < sequences:
        yield Breach(
            options=("max-num-batched-tokens",),
            found=f"{tokens} batched tokens for {sequences} sequences",
            wanted=f"at least {sequences}",
            fix=f"set --max-num-batched-tokens to {sequences} or more, or --max-num-seqs to {tokens}",
        )


def _unchunked(s: Subject) -> Iterator[Breach]:
    tokens, length = s.number("max-num-batched-tokens"), s.number("max-model-len")
    if length is None and s.model and "max-model-len" not in s.options:
        length = s.model.architecture.context
    off = s.options.get("enable-chunked-prefill") is False
    if off and tokens is not None and length is not None and tokens < length:
        yield Breach(
            options=("max-num-batched-tokens", "enable-chunked-prefill"),
            found=f"{tokens} batched tokens for sequences of {length}, without chunked prefill",
            wanted=f"at least {length}",
            fix="leave chunked prefill on, or raise --max-num-batched-tokens",
            edit=s.edit("enable-chunked-prefill"),
        )


def _partial_prefills(s: Subject) -> Iterator[Breach]:
    many, longest = s.count("max-num-partial-prefills", 1), s.count("max-long-partial-prefills", 1)
    if many is None or longest is None:
        return
    if longest > many:
        yield Breach(
            options=("max-long-partial-prefills",),
            found=f"{longest} long partial prefills of {many}",
            wanted=f"at most {many} (--max-num-partial-prefills)",
        )
    if many > 1 and s.options.get("enable-chunked-prefill") is False:
        yield Breach(
            options=("max-num-partial-prefills",),
            found=f"{many} partial prefills without chunked prefill",
            wanted="chunked prefill",
            edit=s.edit("enable-chunked-prefill"),
        )


def _long_prefill(s: Subject) -> Iterator[Breach]:
    threshold, length = s.number("long-prefill-token-threshold"), s.number("max-model-len")
    if threshold is not None and length is not None and 0 < length < threshold:
        yield Breach(
            options=("long-prefill-token-threshold",),
            found=f"{threshold} tokens, of at most {length} (--max-model-len)",
            wanted=f"at most {length}",
        )


def _numa(s: Subject) -> Iterator[Breach]:
    given = [name for name in ("numa-bind-nodes", "numa-bind-cpus") if name in s.options]
    if given and not s.given("numa-bind"):
        yield Breach(
            options=tuple(given),
            found=f"--{given[0]} without --numa-bind",
            wanted="both",
            fix="add --numa-bind",
            edit=s.edit(add=(("--numa-bind",),)),
        )


def _utilization(s: Subject) -> Iterator[Breach]:
    share = s.real("gpu-memory-utilization")
    if share is not None and not 0 < share <= 1:
        percent = f"{share / 100:g}" if 1 < share <= 100 else "0.9"
        yield Breach(
            options=("gpu-memory-utilization",),
            found=f"{share:g}",
            wanted="a share above 0 and at most 1",
            fix=f"write {percent}",
            edit=s.edit("gpu-memory-utilization", add=(("--gpu-memory-utilization", percent),)),
        )


def _both_sizes(s: Subject) -> Iterator[Breach]:
    if "kv-cache-memory-bytes" in s.options and "gpu-memory-utilization" in s.options:
        yield Breach(
            options=("gpu-memory-utilization",),
            found="--gpu-memory-utilization beside --kv-cache-memory-bytes",
            wanted="one of them",
            fix="leave out --gpu-memory-utilization",
            edit=s.edit("gpu-memory-utilization"),
        )


def _encoder_mode(s: Subject) -> Iterator[Breach]:
    if s.given("language-model-only") and "mm-encoder-tp-mode" in s.options:
        yield Breach(
            options=("mm-encoder-tp-mode",),
            found="--mm-encoder-tp-mode beside --language-model-only",
            wanted="one of them",
            fix="leave out --mm-encoder-tp-mode: no encoder is loaded",
            edit=s.edit("mm-encoder-tp-mode"),
        )


def _headless_servers(s: Subject) -> Iterator[Breach]:
    servers = s.number("api-server-count")
    if s.given("headless") and servers is not None and servers > 0:
        yield Breach(
            options=("api-server-count",),
            found=f"{servers} API servers on a headless node",
            wanted="none",
            fix="leave out --api-server-count there",
            edit=s.edit("api-server-count"),
        )


def _load_balancers(s: Subject) -> Iterator[Breach]:
    hybrid, external = s.given("data-parallel-hybrid-lb"), s.given("data-parallel-external-lb")
    if hybrid and external:
        yield Breach(
            options=("data-parallel-hybrid-lb",),
            found="--data-parallel-hybrid-lb and --data-parallel-external-lb",
            wanted="one of them",
        )
    elif hybrid and s.given("headless"):
        yield Breach(
            options=("data-parallel-hybrid-lb",),
            found="--data-parallel-hybrid-lb on a headless node",
            wanted="one of them: each node has its own API servers with it",
            fix="leave out --headless",
            edit=s.edit("headless"),
        )
    elif hybrid and not ({"data-parallel-size-local", "nnodes"} & s.options.keys()):
        yield Breach(
            options=("data-parallel-hybrid-lb",),
            found="--data-parallel-hybrid-lb without --data-parallel-size-local",
            wanted="the number of data ranks of this node",
        )
    size = s.count("data-parallel-size", 1)
    if external and size is not None and size <= 1:
        yield Breach(
            options=("data-parallel-external-lb",),
            found="--data-parallel-external-lb with one data rank",
            wanted="--data-parallel-size above 1",
            fix="leave it out",
            edit=s.edit("data-parallel-external-lb"),
        )


def _elastic(s: Subject) -> Iterator[Breach]:
    if s.given("enable-elastic-ep") and not s.given("enable-eplb"):
        yield Breach(
            options=("enable-elastic-ep",), found="--enable-elastic-ep without --enable-eplb", wanted="both of them"
        )


def _dcp_backend(s: Subject) -> Iterator[Breach]:
    size = s.count("decode-context-parallel-size", 1)
    if s.options.get("dcp-comm-backend") == "a2a" and size is not None and size <= 1:
        yield Breach(
            options=("dcp-comm-backend",),
            found="--dcp-comm-backend a2a with a decode context size of 1",
            wanted="--decode-context-parallel-size above 1",
            edit=s.edit("dcp-comm-backend"),
        )


def _adapters(s: Subject) -> Iterator[Breach]:
    cpu, gpu = s.number("max-cpu-loras"), s.count("max-loras", 1)
    if cpu is not None and gpu is not None and cpu < gpu:
        yield Breach(
            options=("max-cpu-loras",), found=f"{cpu} adapters in RAM, {gpu} on the GPU", wanted=f"at least {gpu}"
        )


def _transfer_role(s: Subject) -> Iterator[Breach]:
    config = s.mapping("kv-transfer-config")
    if config is not None and config.get("kv_connector") and not config.get("kv_role"):
        yield Breach(
            options=("kv-transfer-config",),
            found=f"the connector {config['kv_connector']} without a role",
            wanted='"kv_role": "kv_producer", "kv_consumer" or "kv_both"',
        )


def _context_positive(s: Subject) -> Iterator[Breach]:
    if s.number("max-model-len") == 0:
        yield Breach(options=("max-model-len",), found="0", wanted="a number of tokens above 0")


RULES: tuple[Rule, ...] = (
    Rule(
        name="auto-tool-choice",
        engines=VLLM,
        title="--enable-auto-tool-choice without a parser of tool calls",
        why="the server exits: --enable-auto-tool-choice requires --tool-call-parser",
        source=_SERVE,
        check=_auto_tool_choice,
    ),
    Rule(
        name="tool-parser-alone",
        engines=VLLM,
        level="warning",
        title="in a stack: a parser of tool calls without enable-auto-tool-choice",
        why="requests with tool_choice auto are refused; launch lines without it are Moonshot's own, and pass",
        source="MoonshotAI/Kimi-K2.5, docs/deploy_guidance.md; vllm 0.19.1, vllm/entrypoints/openai",
        check=_parser_alone,
    ),
    Rule(
        name="log-outputs",
        engines=VLLM,
        since="0.11.2",
        title="--enable-log-outputs without --enable-log-requests",
        why="the server exits: --enable-log-outputs requires --enable-log-requests",
        source=_SERVE,
        check=_log_outputs,
    ),
    Rule(
        name="batched-tokens",
        engines=VLLM,
        title="fewer batched tokens than sequences",
        why="each running sequence takes at least one token of a step: ValueError",
        source=_SCHEDULER,
        check=_batch_below_sequences,
    ),
    Rule(
        name="unchunked-prefill",
        engines=VLLM,
        title="fewer batched tokens than the longest sequence, without chunked prefill",
        why="a prompt must fit one step then: ValueError",
        source=_SCHEDULER,
        check=_unchunked,
    ),
    Rule(
        name="partial-prefills",
        engines=VLLM,
        title="partial prefills that contradict each other, or chunked prefill being off",
        why="ValueError in SchedulerConfig",
        source=_SCHEDULER,
        check=_partial_prefills,
    ),
    Rule(
        name="long-prefill",
        engines=VLLM,
        since="0.20.0",
        title="a threshold of long prefills above the longest sequence",
        why="ValueError in SchedulerConfig",
        source="vllm 0.33.0, vllm/config/scheduler.py: verify_max_model_len",
        check=_long_prefill,
    ),
    Rule(
        name="numa-bind",
        engines=VLLM,
        title="NUMA nodes or cores to bind to, without binding",
        why="ValueError: numa_bind_nodes and numa_bind_cpus require numa_bind=True",
        source="vllm 0.33.0, vllm/config/parallel.py: _validate_parallel_config",
        check=_numa,
    ),
    Rule(
        name="memory-share",
        engines=VLLM,
        below="0.11.2",
        title="a share of GPU memory that is none",
        why="it is a fraction of the GPU's memory",
        source="vllm 0.19.1, vllm/config/cache.py: gpu_memory_utilization",
        check=_utilization,
    ),
    Rule(
        name="memory-said-twice",
        engines=VLLM,
        level="warning",
        title="the size of the KV cache given in bytes and as a share",
        why="with --kv-cache-memory-bytes the share is ignored",
        source="vllm 0.19.1, vllm/config/cache.py: kv_cache_memory_bytes",
        check=_both_sizes,
    ),
    Rule(
        name="encoder-mode",
        engines=VLLM,
        level="warning",
        title="a mode of the vision encoder for a model that is served without it",
        why="with --language-model-only no encoder is loaded",
        source="vllm-project/recipes, moonshotai/Kimi-K2.5.md",
        check=_encoder_mode,
    ),
    Rule(
        name="headless-servers",
        engines=VLLM,
        title="API servers on a headless node",
        why="the server exits: no API servers are started in headless mode",
        source="vllm 0.19.1, vllm/entrypoints/cli/serve.py",
        check=_headless_servers,
    ),
    Rule(
        name="load-balancers",
        engines=VLLM,
        title="modes of load balancing that exclude each other, or lack what they need",
        why="asserted when the engine's configuration is made",
        source="vllm 0.19.1, vllm/engine/arg_utils.py: create_engine_config",
        check=_load_balancers,
    ),
    Rule(
        name="elastic-ep",
        engines=VLLM,
        title="elastic expert parallelism without EPLB",
        why="ValueError: Elastic EP is only supported with enable_eplb=True",
        source="vllm 0.19.1, vllm/config/parallel.py: __post_init__",
        check=_elastic,
    ),
    Rule(
        name="dcp-backend",
        engines=VLLM,
        title="a back end of decode context parallelism without it",
        why="ValueError: dcp_comm_backend='a2a' requires decode_context_parallel_size > 1",
        source="vllm 0.19.1, vllm/config/parallel.py: _validate_parallel_config",
        check=_dcp_backend,
    ),
    Rule(
        name="adapters",
        engines=VLLM,
        title="fewer LoRA adapters in RAM than on the GPU",
        why="ValueError in LoRAConfig",
        source="vllm 0.19.1, vllm/config/lora.py",
        check=_adapters,
    ),
    Rule(
        name="kv-transfer-role",
        engines=VLLM,
        title="a KV connector without a role",
        why="ValueError: Please specify kv_role when kv_connector is set",
        source="vllm 0.19.1, vllm/config/kv_transfer.py",
        check=_transfer_role,
    ),
    Rule(
        name="context-positive",
        engines=VLLM,
        title="a context length that is none",
        why="it is a number of tokens; -1 and auto mean what fits",
        source="vllm 0.19.1, vllm/config/model.py",
        check=_context_positive,
    ),
)
