"""What to write instead of options that an engine no longer has, never had, or that belong to another engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.flags.table import FlagTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """One option and what takes its place; the first entry whose place exists in the release counts."""

    engine: str
    flag: str
    to: str = ""
    """The option that takes over the value: `--eplb-config.step_interval` for a key of a JSON option."""
    words: tuple[str, ...] = ()
    """The words that are written instead, without the value."""
    copies: str = ""
    """The option of the same command whose value `to` takes, instead of the value that was given."""
    by_value: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The words for one value each."""
    drops: tuple[str, ...] = ()
    """Options that go with it."""
    nest: str = ""
    """The key under which the value goes into the JSON of `to`."""
    fix: str = ""
    why: str = ""
    source: str = ""

    def fits(self, table: FlagTable) -> bool:
        """Whether the release has what it would put in."""
        names = [self.to, *(word for word in self.words if word.startswith("--"))]
        names += [word for words in self.by_value.values() for word in words if word.startswith("--")]
        return all(not name or name.partition(".")[0] in table.spellings for name in names)


def replacement(table: FlagTable, flag: str) -> Replaced | None:
    """What to write instead in a release, None where nobody said."""
    family = {"sglang-kt": "sglang", "kt-kernel": "sglang"}.get(table.engine, table.engine)
    for entry in REPLACED.get(family, ()):
        if entry.flag == flag and entry.fits(table):
            return entry
    return None


def _gone(engine: str, why: str, *flags: str, fix: str = "leave it out", source: str = "") -> tuple[Replaced, ...]:
    return tuple(Replaced(engine=engine, flag=flag, fix=fix, why=why, source=source) for flag in flags)


def _renamed(engine: str, names: Mapping[str, str], why: str = "", source: str = "") -> tuple[Replaced, ...]:
    return tuple(Replaced(engine=engine, flag=old, to=new, why=why, source=source) for old, new in names.items())


def _instead(engine: str, flag: str, *words: str, why: str = "", source: str = "") -> Replaced:
    return Replaced(engine=engine, flag=flag, words=words, why=why, source=source)


_V1 = "vLLM's V1 engine has no use for it"
_SGLANGS = "that is SGLang's name"
_VLLMS = "that is vLLM's name"
_TRTS = "that is TensorRT-LLM's name"

_VLLM: tuple[Replaced, ...] = (
    *_gone(
        "vllm",
        "V1 never swaps KV blocks out",
        "--swap-space",
        fix="leave it out; for KV in host memory write --kv-offloading-size GIB --kv-offloading-backend native",
        source="vllm-project/vllm PR 36216",
    ),
    _instead("vllm", "--skip-non-local-expert-weights", "--enable-ep-weight-filter"),
    *_gone(
        "vllm",
        "no release has it: the scales belong in the checkpoint",
        "--quantization-param-path",
        "--skip-non-local-expert-weights",
    ),
    *_gone("vllm", "the scales belong in the checkpoint", "--calculate-kv-scales"),
    *_gone(
        "vllm",
        _V1,
        "--disable-async-output-proc",
        "--disable-frontend-multiprocessing",
        "--use-v2-block-manager",
        "--num-scheduler-steps",
        "--multi-step-stream-outputs",
        "--num-lookahead-slots",
        "--preemption-mode",
        "--scheduler-delay-factor",
        "--max-num-partial-prefills",
        "--max-long-partial-prefills",
        "--max-seq-len-to-capture",
        "--max-context-len-to-capture",
        "--override-neuron-config",
        "--engine-use-ray",
        "--use-gpu-for-pooling-score",
        "--enable-bf16x3-router-gemm",
        "--logits-processor-pattern",
        "--override-attention-dtype",
        "--block-size-swap",
    ),
    *_gone(
        "vllm",
        "prompt adapters are gone",
        "--enable-prompt-adapter",
        "--max-prompt-adapters",
        "--max-prompt-adapter-token",
    ),
    *_gone(
        "vllm",
        "LoRA no longer takes it",
        "--enable-lora-bias",
        "--lora-extra-vocab-size",
        "--long-lora-scaling-factors",
    ),
    *_gone("vllm", "requests are logged only with --enable-log-requests", "--disable-log-requests"),
    *_gone("vllm", "the device is found by itself", "--device"),
    *_gone("vllm", "--reasoning-parser alone turns reasoning on", "--enable-reasoning"),
    *_gone("vllm", "requests are logged unless --disable-log-requests is given", "--enable-log-requests"),
    *_renamed(
        "vllm",
        {
            "--cuda-graph-sizes": "--cudagraph-capture-sizes",
            "--eplb-step-interval": "--eplb-config.step_interval",
            "--eplb-window-size": "--eplb-config.window_size",
            "--num-redundant-experts": "--eplb-config.num_redundant_experts",
            "--guided-decoding-backend": "--structured-outputs-config.backend",
            "--override-pooler-config": "--pooler-config",
            "--speculative-model": "--speculative-config.model",
            "--speculative-method": "--speculative-config.method",
            "--num-speculative-tokens": "--speculative-config.num_speculative_tokens",
            "--speculative-num-tokens": "--speculative-config.num_speculative_tokens",
            "--speculative-draft-tensor-parallel-size": "--speculative-config.draft_tensor_parallel_size",
            "--speculative-max-model-len": "--speculative-config.max_model_len",
            "--speculative-disable-by-batch-size": "--speculative-config.disable_by_batch_size",
            "--ngram-prompt-lookup-max": "--speculative-config.prompt_lookup_max",
            "--ngram-prompt-lookup-min": "--speculative-config.prompt_lookup_min",
            "--chat-template-kwargs": "--default-chat-template-kwargs",
            "--log-config-file": "--logging-config.pylogging_config_file",
            "--tool-parser": "--tool-call-parser",
            "--moe-a2a-backend": "--all2all-backend",
            "--generation-config-override": "--override-generation-config",
            "--max-lora-num": "--max-loras",
            "--task-type": "--task",
        },
    ),
    _instead("vllm", "--eplb-log-balancedness", "--eplb-config.log_balancedness", "true"),
    _instead("vllm", "--disable-mm-preprocessor-cache", "--mm-processor-cache-gb", "0"),
    _instead("vllm", "--enable-multimodal-encoder-data-parallel", "--mm-encoder-tp-mode", "data"),
    _instead("vllm", "--guided-decoding-disable-fallback", "--structured-outputs-config.disable_fallback", "true"),
    _instead(
        "vllm", "--guided-decoding-disable-any-whitespace", "--structured-outputs-config.disable_any_whitespace", "true"
    ),
    _instead(
        "vllm",
        "--guided-decoding-disable-additional-properties",
        "--structured-outputs-config.disable_additional_properties",
        "true",
    ),
    _instead("vllm", "--worker-use-ray", "--distributed-executor-backend", "ray"),
    Replaced(engine="vllm", flag="--rope-scaling", to="--hf-overrides", nest="rope_parameters"),
    Replaced(engine="vllm", flag="--rope-theta", to="--hf-overrides.rope_parameters.rope_theta"),
    Replaced(
        engine="vllm",
        flag="--task",
        by_value={
            "auto": (),
            "generate": ("--runner", "generate"),
            "embed": ("--runner", "pooling", "--convert", "embed"),
            "embedding": ("--runner", "pooling", "--convert", "embed"),
            "classify": ("--runner", "pooling", "--convert", "classify"),
            "score": ("--runner", "pooling", "--convert", "classify"),
            "reward": ("--runner", "pooling", "--convert", "reward"),
        },
        fix="write --runner, and --convert where a generative model is to pool",
    ),
    *_renamed(
        "vllm",
        {
            "--tp": "--tensor-parallel-size",
            "--tp-size": "--tensor-parallel-size",
            "--dp": "--data-parallel-size",
            "--dp-size": "--data-parallel-size",
            "--pp": "--pipeline-parallel-size",
            "--pp-size": "--pipeline-parallel-size",
            "--dcp-size": "--decode-context-parallel-size",
            "--context-length": "--max-model-len",
            "--mem-fraction-static": "--gpu-memory-utilization",
            "--max-running-requests": "--max-num-seqs",
            "--chunked-prefill-size": "--max-num-batched-tokens",
            "--model-path": "--model",
            "--speculative-draft-model-path": "--speculative-config.model",
            "--speculative-num-draft-tokens": "--speculative-config.num_speculative_tokens",
            "--cuda-graph-bs": "--cudagraph-capture-sizes",
            "--cuda-graph-max-bs": "--max-cudagraph-capture-size",
            "--dist-init-addr": "--master-addr",
        },
        _SGLANGS,
    ),
    _instead("vllm", "--ep", "--enable-expert-parallel", why=_SGLANGS),
    _instead("vllm", "--ep-size", "--enable-expert-parallel", why=_SGLANGS),
    _instead(
        "vllm",
        "--expert-parallel-size",
        "--enable-expert-parallel",
        why="it is as wide as tensor times data parallelism",
    ),
    _instead("vllm", "--disable-cuda-graph", "--enforce-eager", why=_SGLANGS),
    _instead("vllm", "--disable-radix-cache", "--no-enable-prefix-caching", why=_SGLANGS),
    _instead("vllm", "--disable-overlap-schedule", "--no-async-scheduling", why=_SGLANGS),
    *_gone("vllm", f"{_SGLANGS}; parallel attention comes with --data-parallel-size", "--enable-dp-attention"),
    *_renamed(
        "vllm",
        {
            "--max-seq-len": "--max-model-len",
            "--max-context-len": "--max-model-len",
            "--max-context-length": "--max-model-len",
            "--max-length": "--max-model-len",
            "--max-batch-size": "--max-num-seqs",
            "--max-num-tokens": "--max-num-batched-tokens",
            "--free-gpu-memory-fraction": "--gpu-memory-utilization",
            "--kv-cache-free-gpu-memory-fraction": "--gpu-memory-utilization",
        },
        _TRTS,
    ),
    *_renamed(
        "vllm",
        {
            "--gpu-memory": "--gpu-memory-utilization",
            "--gpu-utilization": "--gpu-memory-utilization",
            "--max-tokens": "--max-model-len",
            "--num-gpus": "--tensor-parallel-size",
            "--quant": "--quantization",
            "--kv-dtype": "--kv-cache-dtype",
            "--max-concurrent-requests": "--max-num-seqs",
            "--max-batch-tokens": "--max-num-batched-tokens",
            "--model-name": "--served-model-name",
        },
    ),
)

_CUDA_GRAPH = "0.5.14 split it into one option for decode and one for prefill"

_SGLANG: tuple[Replaced, ...] = (
    _instead(
        "sglang",
        "--enable-deepep-moe",
        "--moe-a2a-backend",
        "deepep",
        why="a plain flag up to 0.4.9.post6, a warning up to 0.5.2, an error up to 0.5.4, then gone",
    ),
    Replaced(
        engine="sglang", flag="--enable-ep-moe", to="--ep-size", copies="--tp-size", why="--ep-size alone says it"
    ),
    *_renamed(
        "sglang",
        {"--cuda-graph-bs": "--cuda-graph-bs-decode", "--cuda-graph-max-bs": "--cuda-graph-max-bs-decode"},
        _CUDA_GRAPH,
    ),
    *_renamed(
        "sglang",
        {
            "--kt-amx-weight-path": "--kt-weight-path",
            "--kt-amx-method": "--kt-method",
            "--kt-amx-cpuinfer": "--kt-cpuinfer",
            "--attention-context-parallel-size": "--attn-cp-size",
            "--moe-data-parallel-size": "--moe-dp-size",
            "--max-micro-batch-size": "--pp-max-micro-batch-size",
            "--oltp-traces-endpoint": "--otlp-traces-endpoint",
            "--mamba-scheduler-strategy": "--mamba-radix-cache-strategy",
            "--piecewise-cuda-graph-tokens": "--cuda-graph-bs-prefill",
            "--piecewise-cuda-graph-max-tokens": "--cuda-graph-max-bs-prefill",
            "--prefill-cp-mode": "--cp-strategy",
            "--speculative-draft": "--speculative-draft-model-path",
            "--speculative-algo": "--speculative-algorithm",
            "--speculative-model": "--speculative-draft-model-path",
        },
    ),
    *_renamed("sglang", {"--nsa-decode": "--dsa-decode-backend", "--nsa-prefill": "--dsa-prefill-backend"}),
    *_renamed("sglang", {"--nsa-decode": "--nsa-decode-backend", "--nsa-prefill": "--nsa-prefill-backend"}),
    *_renamed(
        "sglang", {"--nsa-decode-backend": "--dsa-decode-backend", "--nsa-prefill-backend": "--dsa-prefill-backend"}
    ),
    Replaced(
        engine="sglang",
        flag="--enable-dp-attention",
        to="--attn-dp-size",
        copies="--dp-size",
        drops=("--dp-size",),
        why="--attn-dp-size N says both --dp-size N and --enable-dp-attention",
    ),
    _instead(
        "sglang",
        "--disable-cuda-graph",
        "--cuda-graph-backend-decode",
        "disabled",
        "--cuda-graph-backend-prefill",
        "disabled",
    ),
    _instead("sglang", "--enable-flashinfer-moe", "--moe-runner-backend", "flashinfer_cutlass"),
    _instead("sglang", "--enable-flashinfer-cutlass-moe", "--moe-runner-backend", "flashinfer_cutlass"),
    _instead("sglang", "--enable-flashinfer-trtllm-moe", "--moe-runner-backend", "flashinfer_trtllm"),
    _instead("sglang", "--enable-flashinfer-cutedsl-moe", "--moe-runner-backend", "flashinfer_cutedsl"),
    _instead("sglang", "--enable-flashinfer-mxfp4-moe", "--moe-runner-backend", "flashinfer_mxfp4"),
    _instead("sglang", "--enable-triton-kernel-moe", "--moe-runner-backend", "triton_kernel"),
    _instead("sglang", "--disable-piecewise-cuda-graph", "--disable-prefill-cuda-graph"),
    _instead("sglang", "--enable-deepep-waterfill", "--enable-waterfill"),
    _instead("sglang", "--stream-output", "--incremental-streaming-output"),
    *_gone(
        "sglang",
        "newer releases do without it",
        "--enable-piecewise-cuda-graph",
        "--enforce-piecewise-cuda-graph",
        "--disaggregation-decode-tp",
        "--disaggregation-decode-dp",
        "--disaggregation-prefill-pp",
        "--pdlb-url",
        "--hybrid-kvcache-ratio",
        "--enable-nan-detection",
        "--debug-tensor-dump-inject",
        "--enable-beta-spec",
        "--speculative-skip-dp-mlp-sync",
        "--collect-tokens-histogram",
        "--prefill-round-robin-balance",
        "--disable-overlap-cg-plan",
        "--disable-hicache-numa-detect",
        "--enable-flashinfer-autotune",
        "--enable-expert-distribution-metrics",
    ),
    *_gone(
        "sglang",
        "double sparsity is gone",
        "--enable-double-sparsity",
        "--ds-channel-config-path",
        "--ds-heavy-channel-num",
        "--ds-heavy-channel-type",
        "--ds-heavy-token-num",
        "--ds-sparse-decode-threshold",
    ),
    *_renamed(
        "sglang",
        {
            "--max-model-len": "--context-length",
            "--max-seq-len": "--context-length",
            "--gpu-memory-utilization": "--mem-fraction-static",
            "--max-num-seqs": "--max-running-requests",
            "--max-num-batched-tokens": "--chunked-prefill-size",
            "--decode-context-parallel-size": "--dcp-size",
            "--master-addr": "--dist-init-addr",
            "--all2all-backend": "--moe-a2a-backend",
            "--model-name": "--served-model-name",
            "--gpu-memory-fraction": "--mem-fraction-static",
        },
        _VLLMS,
    ),
    *_renamed(
        "sglang",
        {"--pp": "--pp-size", "--tp": "--tp-size", "--dp": "--dp-size", "--ep": "--ep-size"},
        "SGLang declares no such short name",
    ),
    *_renamed("sglang", {"--pp": "--pipeline-parallel-size"}, "SGLang declares no such short name"),
    Replaced(engine="sglang", flag="--enable-expert-parallel", to="--ep-size", copies="--tp-size", why=_VLLMS),
    _instead("sglang", "--enforce-eager", "--disable-cuda-graph", why=_VLLMS),
    _instead("sglang", "--no-enable-prefix-caching", "--disable-radix-cache", why=_VLLMS),
    *_gone(
        "sglang",
        f"{_VLLMS}; here it is on by itself",
        "--enable-prefix-caching",
        "--enable-chunked-prefill",
        "--enable-auto-tool-choice",
    ),
    *_gone("sglang", f"{_VLLMS}; requests are logged only with --log-requests", "--disable-log-requests"),
    *_gone("sglang", f"{_VLLMS}; SGLang starts its own processes", "--distributed-executor-backend", "--headless"),
)

_TRTLLM: tuple[Replaced, ...] = (
    *_renamed("trtllm", {"--tp": "--tp_size", "--pp": "--pp_size", "--ep": "--ep_size", "--cp": "--cp_size"}),
    *_renamed(
        "trtllm",
        {
            "--max_model_len": "--max_seq_len",
            "--context_length": "--max_seq_len",
            "--max_num_seqs": "--max_batch_size",
            "--max_num_batched_tokens": "--max_num_tokens",
            "--gpu_memory_utilization": "--free_gpu_memory_fraction",
            "--mem_fraction_static": "--free_gpu_memory_fraction",
            "--tool_call_parser": "--tool_parser",
            "--expert_parallel_size": "--moe_expert_parallel_size",
            "--extra_llm_api_config": "--extra_llm_api_options",
            "--extra_options": "--extra_llm_api_options",
        },
        "that is another engine's name",
    ),
    *_gone("trtllm", "an option of another engine", "--enable_auto_tool_choice", "--enable_prefix_caching"),
)

_HUB: tuple[Replaced, ...] = (
    *_gone("huggingface-hub", "files always go into --local-dir itself", "--local-dir-use-symlinks"),
    *_gone("huggingface-hub", "downloads always resume", "--resume-download"),
)

VALUES: Mapping[tuple[str, str, str], str] = {
    ("sglang", "--kv-cache-dtype", "fp8"): "fp8_e4m3",
    ("sglang", "--dtype", "fp16"): "float16",
    ("sglang", "--dtype", "bf16"): "bfloat16",
    ("sglang", "--dtype", "fp32"): "float32",
    ("sglang", "--reasoning-parser", "deepseek_r1"): "deepseek-r1",
    ("vllm", "--dtype", "fp16"): "float16",
    ("vllm", "--dtype", "bf16"): "bfloat16",
    ("vllm", "--dtype", "fp32"): "float32",
    ("vllm", "--kv-cache-dtype", "bf16"): "bfloat16",
}
"""Values that people write for others: engine, option, value."""

KEYS: Mapping[tuple[str, str], str] = {
    ("CompilationConfig", "level"): "mode",
    ("CompilationConfig", "use_cudagraph"): "cudagraph_mode",
    ("SpeculativeConfig", "speculative_model"): "model",
    ("SpeculativeConfig", "draft_model"): "model",
    ("SpeculativeConfig", "algorithm"): "method",
    ("SpeculativeConfig", "num_tokens"): "num_speculative_tokens",
    ("SpeculativeConfig", "num_draft_tokens"): "num_speculative_tokens",
    ("SpeculativeConfig", "num_spec_tokens"): "num_speculative_tokens",
    ("KVTransferConfig", "connector"): "kv_connector",
    ("KVTransferConfig", "role"): "kv_role",
    ("CudaGraphConfig", "padding_enabled"): "enable_padding",
}
"""Keys of nested classes that had another name, or have another one elsewhere."""

REPLACED: Mapping[str, tuple[Replaced, ...]] = {
    "vllm": _VLLM,
    "sglang": _SGLANG,
    "trtllm": _TRTLLM,
    "huggingface-hub": _HUB,
    "vllm-bench-serve": (
        *_renamed("vllm-bench-serve", {"--endpoint-type": "--backend"}, "it is called --backend since 0.11"),
    ),
    "ktransformers": (),
}
