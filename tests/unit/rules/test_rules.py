"""Each rule refuses one command, and only by its own name, and lets that command's nearest neighbour pass."""

import json
import shlex
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest

from infra.flags import table as tables
from infra.flags.check import check, corrected
from infra.rules import RULES, findings
from infra.rules.release import key
from tests.unit.rules.subjects import rules_of, subject, tokens

AVX512 = frozenset({"avx2", "avx512f", "avx512bw", "avx512_bf16", "avx512_vbmi"})
AVX2 = frozenset({"avx2", "fma"})
K25 = "moonshotai/Kimi-K2.5 --trust-remote-code"
K2 = "moonshotai/Kimi-K2-Instruct --trust-remote-code"
S25 = "--model-path moonshotai/Kimi-K2.5 --trust-remote-code"
S2 = "--model-path moonshotai/Kimi-K2-Instruct --trust-remote-code"
KT = f"{S25} --kt-weight-path /w"
MP = "--distributed-executor-backend mp"
NODES = "--nnodes 2 --node-rank 0 --master-addr 10.0.0.1"
DIST = "--nnodes 2 --node-rank 0 --dist-init-addr 10.0.0.1:5000"
H200 = {"gpu": "NVIDIA H200"}
MPI = ("mpirun", "-np", "16", "-H", "a:8,b:8", "trtllm-llmapi-launch")


@dataclass(frozen=True, slots=True)
class Case:
    """A rule, a command that breaks it, and one beside it that does not."""

    rule: str
    wrong: str
    right: str
    engine: str = "trtllm"
    release: str = ""
    around: dict[str, Any] = field(default_factory=dict)
    right_around: dict[str, Any] | None = None
    found: str = ""
    """What its problem says was found, as far as that matters."""


vllm = partial(Case, engine="vllm", release="0.19.1")
sglang = partial(Case, engine="sglang", release="0.5.9")
kt = partial(Case, engine="sglang-kt", release="0.7.2")


def spec(**keys: object) -> str:
    """A speculative configuration as an argument."""
    return f"--speculative-config '{json.dumps(keys)}'"


HICACHE = "--enable-hierarchical-cache --hicache-storage-backend mooncake"
EAGLE3_DRAFT = "--speculative-algorithm EAGLE3 --speculative-draft-model-path /d"
CHAIN = f"{EAGLE3_DRAFT} --speculative-num-steps 3"
EAGLE = {"model": "lightseekorg/kimi-k2.5-eagle3-mla", "method": "eagle3", "num_speculative_tokens": 3}

CASES = (
    # models
    vllm("model-release", K25, K2, release="0.10.0"),
    sglang("model-release", S25, S2, release="0.4.9.post6"),
    vllm("tool-parser-model", f"{K25} --tool-call-parser hermes", f"{K25} --tool-call-parser kimi_k2"),
    vllm("tool-parser-model", "Qwen/Qwen3-8B --tool-call-parser kimi_k2", "Qwen/Qwen3-8B --tool-call-parser hermes"),
    sglang("tool-parser-model", f"{S25} --tool-call-parser qwen25", f"{S25} --tool-call-parser kimi_k2"),
    vllm("reasoning-parser-model", f"{K25} --reasoning-parser qwen3", f"{K25} --reasoning-parser kimi_k2"),
    sglang("reasoning-parser-model", f"{S25} --reasoning-parser kimi", f"{S25} --reasoning-parser kimi_k2"),
    vllm("reasoning-parser-instruct", f"{K2} --reasoning-parser kimi_k2", f"{K25} --reasoning-parser kimi_k2"),
    vllm("trust-remote-code", "moonshotai/Kimi-K2.5", K25),
    vllm("trust-remote-code", "nvidia/Kimi-K2.5-NVFP4", "/models/$MODEL"),
    sglang("trust-remote-code", "--model-path moonshotai/Kimi-K2.5", S25),
    vllm("quantization-model", f"{K25} --quantization awq", f"{K25} --quantization compressed-tensors"),
    vllm("encoder-of-text-model", f"{K2} --mm-encoder-tp-mode data", f"{K25} --mm-encoder-tp-mode data"),
    # parallelism
    vllm("sizes-positive", f"{K25} --pipeline-parallel-size 0", f"{K25} --pipeline-parallel-size 1"),
    sglang("sizes-positive", f"{S25} --tp 0", f"{S25} --tp 1"),
    vllm("memory-share", f"{K2} --gpu-memory-utilization 85", f"{K2} --gpu-memory-utilization 0.85", release="0.10.0"),
    vllm("context-positive", f"{K25} --max-model-len 0", f"{K25} --max-model-len auto"),
    vllm("dtype-quantization", f"{K2} --dtype float32", f"{K25} --dtype bfloat16"),
    vllm("draft-missing", f"{K25} {spec(method='mtp', num_speculative_tokens=1)}", f"{K25} {spec(**EAGLE)}"),
    vllm("heads-divisible", f"{K25} -tp 6", f"{K25} -tp 8", found="64 heads over 6"),
    sglang("heads-divisible", f"{S25} --tp 6 --ep 6", f"{S25} --tp 8 --ep 8"),
    vllm(
        "experts-divisible",
        f"{K25} -tp 1 -dp 5 --enable-expert-parallel",
        f"{K25} -tp 1 -dp 6 --enable-expert-parallel",
        found="384 experts over 5",
    ),
    sglang(
        "experts-divisible",
        f"{S2} --tp 8 --ep 8 --ep-num-redundant-experts 3",
        f"{S2} --tp 8 --ep 8 --ep-num-redundant-experts 8",
        found="384 experts and 3 redundant",
    ),
    vllm(
        "fp8-blocks",
        f"{K2} -tp 32 --nnodes 4 --node-rank 0 --master-addr a",
        f"{K2} -tp 16 {NODES}",
        found="slices of 64",
    ),
    sglang(
        "fp8-blocks",
        f"{S2} --tp 32 --nnodes 4 --dist-init-addr a:1",
        f"{S2} --tp 32 --nnodes 4 --dist-init-addr a:1 --ep 32",
    ),
    vllm(
        "int4-marlin-slices",
        f"{K25} -tp 64 --nnodes 8 --node-rank 0 --master-addr a",
        f"{K25} -tp 32 --nnodes 4 --node-rank 0 --master-addr a",
        found="slices of 32",
    ),
    vllm(
        "pipeline-layers",
        f"{K25} -pp 64 --nnodes 8 --node-rank 0 --master-addr a",
        f"{K25} -pp 16 --nnodes 2 --node-rank 0 --master-addr a",
    ),
    vllm(
        "experts-of-dense-model",
        "meta-llama/Llama-3.3-70B-Instruct -tp 8 --enable-expert-parallel",
        "meta-llama/Llama-3.3-70B-Instruct -tp 8",
    ),
    vllm("world-size", f"{K2} -tp 16", f"{K2} -tp 16 --distributed-executor-backend ray", found="16 GPUs"),
    vllm("world-size", f"{K2} -tp 16", f"{K2} -tp 16 {NODES}", around={"gpus_per_node": 8}),
    vllm("world-size", f"{K2} -tp 16 -pp 2 {NODES}", f"{K2} -tp 8 -pp 2 {NODES}"),
    vllm("world-size", f"{K2} -tp 8", f"{K2} -tp 4", around={"env": {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}}),
    vllm("world-size", f"{K2} -tp 8", f"{K2} -tp 4", around={"directives": {"gres": "gpu:4"}}),
    vllm(
        "world-size",
        f"{K2} -dp 16 --data-parallel-address a",
        f"{K2} -dp 16 --data-parallel-size-local 8 --data-parallel-address a",
        found="16 GPUs",
    ),
    vllm("world-size", f"{K2} -tp 16 {MP}", f"{K2} -tp 8 {MP}"),
    vllm("world-size", f"{K2} -tp 16", f"{K2} -tp 16 {MP}", around={"about_others": True}),
    vllm("world-size", f"{K2} -tp 16 {MP}", f"{K2} -tp 8 {MP}", around={"about_others": True, "gpus_per_node": 8}),
    sglang("world-size", f"{S2} --tp 16", f"{S2} --tp 16 {DIST}"),
    sglang("world-size", f"{S2} --tp 16", f"{S2} --tp 16 --disaggregation-transfer-backend ascend"),
    sglang("world-size", f"{S2} --tp 8 --dp 8", f"{S2} --tp 8 --dp 8 --enable-dp-attention", found="64 GPUs"),
    vllm(
        "job-size",
        f"{K2} -tp 16 -pp 2 --distributed-executor-backend ray",
        f"{K2} -tp 8 -pp 2 --distributed-executor-backend ray",
        around={"directives": {"nodes": "2", "gpus-per-node": "8"}},
    ),
    vllm(
        "nodes-divide-world",
        f"{K25} -tp 8 --nnodes 3 --node-rank 0 --master-addr a",
        f"{K25} -tp 8 --nnodes 2 --node-rank 0 --master-addr a",
    ),
    sglang(
        "nodes-divide-world",
        f"{S25} --tp 16 --nnodes 3 --dist-init-addr a:1",
        f"{S25} --tp 16 --nnodes 2 --dist-init-addr a:1",
    ),
    vllm(
        "node-rank",
        f"{K25} -tp 16 --nnodes 2 --node-rank 2 --master-addr a --headless",
        f"{K25} -tp 16 --nnodes 2 --node-rank 1 --master-addr a --headless",
    ),
    sglang("node-rank", f"{S25} --tp 16 {DIST} --node-rank 2", f"{S25} --tp 16 {DIST} --node-rank 1"),
    vllm("decode-context-parallel", f"{K25} -tp 8 -dcp 3", f"{K25} -tp 8 -dcp 8"),
    vllm(
        "data-ranks",
        f"{K25} -dp 16 -dpl 8 --data-parallel-start-rank 9 --headless --data-parallel-address a",
        f"{K25} -dp 16 -dpl 8 --data-parallel-start-rank 8 --headless --data-parallel-address a",
        found="9 to 16 of 16",
    ),
    sglang("dp-attention", f"{S25} --tp 8 --dp 3 --enable-dp-attention", f"{S25} --tp 8 --dp 4 --enable-dp-attention"),
    sglang("replicas-over-nodes", f"{S25} --tp 8 --dp 2 {DIST}", f"{S25} --tp 16 --dp 2 --enable-dp-attention {DIST}"),
    sglang("expert-ranks", f"{S25} --tp 8 --ep 3", f"{S25} --tp 8 --ep 4"),
    vllm(
        "ray-with-nnodes",
        f"{K25} -tp 16 {NODES} --distributed-executor-backend ray",
        f"{K25} -tp 16 {NODES} --distributed-executor-backend mp",
    ),
    # EPLB
    vllm(
        "eplb-needs-ep",
        f"{K2} -tp 16 {NODES} --enable-eplb",
        f"{K2} -tp 16 {NODES} --enable-eplb --enable-expert-parallel",
    ),
    sglang("eplb-needs-ep", f"{S2} --tp 8 --enable-eplb", f"{S2} --tp 8 --enable-eplb --ep 8"),
    vllm(
        "eplb-quantization",
        f"{K25} -tp 8 --enable-expert-parallel --enable-eplb",
        f"{K2} -tp 8 --enable-expert-parallel --enable-eplb",
    ),
    vllm(
        "eplb-quantization",
        f"{K25} -tp 8 --enable-expert-parallel --enable-eplb",
        f"{K25} -tp 8 --enable-expert-parallel --enable-eplb --moe-backend triton",
        release="0.33.0",
    ),
    vllm(
        "eplb-model",
        "nvidia/Kimi-K2.5-NVFP4 --trust-remote-code -tp 8 --enable-expert-parallel --enable-eplb",
        "nvidia/Kimi-K2.5-NVFP4 --trust-remote-code -tp 8 --enable-expert-parallel",
    ),
    vllm(
        "eplb-interval",
        f'{K2} -tp 8 -ep --enable-eplb --eplb-config \'{{"window_size":1000,"step_interval":500}}\'',
        f'{K2} -tp 8 -ep --enable-eplb --eplb-config \'{{"window_size":1000,"step_interval":1000}}\'',
        found="step_interval 500",
    ),
    vllm(
        "eplb-interval",
        f"{K2} -tp 8 --enable-expert-parallel --enable-eplb --eplb-step-interval 100",
        f"{K2} -tp 8 --enable-expert-parallel --enable-eplb --eplb-step-interval 100 --eplb-window-size 100",
        release="0.10.0",
    ),
    vllm(
        "eplb-redundant",
        f"{K2} -tp 8 --enable-expert-parallel --eplb-config.num_redundant_experts 8",
        f"{K2} -tp 8 --enable-expert-parallel --enable-eplb --eplb-config.num_redundant_experts 8",
    ),
    vllm("eplb-config-alone", f"{K2} --eplb-config.window_size 500", K2),
    vllm(
        "eplb-log-interval",
        f'{K2} -tp 8 -ep --enable-eplb --eplb-config \'{{"log_balancedness":true,"log_balancedness_interval":0}}\'',
        f'{K2} -tp 8 -ep --enable-eplb --eplb-config \'{{"log_balancedness":true,"log_balancedness_interval":10}}\'',
    ),
    vllm(
        "eplb-async-policy",
        f"{K2} -tp 8 -ep --enable-eplb --eplb-config.use_async true --eplb-config.policy mine",
        f"{K2} -tp 8 -ep --enable-eplb --eplb-config.use_async true",
    ),
    vllm(
        "all2all-alone",
        f"{K2} -tp 8 --all2all-backend deepep_low_latency",
        f"{K2} -tp 8 -ep --all2all-backend deepep_low_latency",
    ),
    vllm(
        "all2all-gone", f"{K2} -tp 8 -ep --all2all-backend pplx", f"{K2} -tp 8 -ep --all2all-backend deepep_low_latency"
    ),
    vllm("ep-filter-alone", f"{K25} -tp 8 --enable-ep-weight-filter", f"{K25} -tp 8 -ep --enable-ep-weight-filter"),
    vllm(
        "ep-filter-with-eplb",
        f"{K2} -tp 8 -ep --enable-ep-weight-filter --enable-eplb",
        f"{K2} -tp 8 -ep --enable-eplb",
    ),
    vllm("eplb-needs-ranks", f"{K2} -ep --enable-eplb", f"{K2} -ep --enable-eplb -tp 2"),
    vllm("ep-alone", f"{K25} --enable-expert-parallel", f"{K25} --enable-expert-parallel -tp 2"),
    # vLLM
    vllm(
        "auto-tool-choice",
        f"{K25} --enable-auto-tool-choice",
        f"{K25} --enable-auto-tool-choice --tool-call-parser kimi_k2",
    ),
    vllm("log-outputs", f"{K25} --enable-log-outputs", f"{K25} --enable-log-outputs --enable-log-requests"),
    vllm(
        "batched-tokens",
        f"{K25} --max-num-batched-tokens 128 --max-num-seqs 256",
        f"{K25} --max-num-batched-tokens 8k --max-num-seqs 256",
    ),
    vllm(
        "unchunked-prefill",
        f"{K25} --no-enable-chunked-prefill --max-num-batched-tokens 8192",
        f"{K25} --no-enable-chunked-prefill --max-num-batched-tokens 8192 --max-model-len 8k",
    ),
    vllm(
        "partial-prefills",
        f"{K25} --max-num-partial-prefills 2 --max-long-partial-prefills 3",
        f"{K25} --max-num-partial-prefills 3 --max-long-partial-prefills 3",
    ),
    vllm(
        "memory-said-twice",
        f"{K25} --kv-cache-memory-bytes 40G --gpu-memory-utilization 0.9",
        f"{K25} --kv-cache-memory-bytes 40G",
    ),
    vllm("encoder-mode", f"{K25} --language-model-only --mm-encoder-tp-mode data", f"{K25} --language-model-only"),
    vllm(
        "headless-servers",
        f"{K25} -dp 16 -dpl 8 --data-parallel-start-rank 8 --data-parallel-address a --headless --api-server-count 2",
        f"{K25} -dp 16 -dpl 8 --data-parallel-address a --api-server-count 2",
    ),
    vllm("load-balancers", f"{K25} -dp 8 --data-parallel-hybrid-lb", f"{K25} -dp 16 -dpl 8 --data-parallel-hybrid-lb"),
    vllm("elastic-ep", f"{K2} -dp 8 -ep --enable-elastic-ep", f"{K2} -dp 8 -ep --enable-elastic-ep --enable-eplb"),
    vllm("dcp-backend", f"{K25} -tp 8 --dcp-comm-backend a2a", f"{K25} -tp 8 --dcp-comm-backend a2a -dcp 8"),
    vllm(
        "long-prefill",
        f"{K25} --long-prefill-token-threshold 9000 --max-model-len 8192",
        f"{K25} --long-prefill-token-threshold 8000 --max-model-len 8192",
        release="0.33.0",
    ),
    vllm("numa-bind", f"{K25} --numa-bind-nodes 0", f"{K25} --numa-bind-nodes 0 --numa-bind", release="0.33.0"),
    vllm(
        "batched-tokens",
        f"{K25} --max-num-seqs 64 --max-num-active-seqs 65",
        f"{K25} --max-num-seqs 64 --max-num-active-seqs 64",
        release="0.33.0",
    ),
    vllm("adapters", "/m --max-loras 4 --max-cpu-loras 2", "/m --max-loras 4 --max-cpu-loras 8"),
    vllm(
        "kv-transfer-role",
        '/m --kv-transfer-config \'{"kv_connector":"NixlConnector"}\'',
        '/m --kv-transfer-config \'{"kv_connector":"NixlConnector","kv_role":"kv_both"}\'',
    ),
    # SGLang
    sglang(
        "two-batch-overlap",
        f"{S2} --tp 8 --enable-two-batch-overlap",
        f"{S2} --tp 8 --enable-two-batch-overlap --moe-a2a-backend deepep",
    ),
    sglang(
        "deepep-mode-alone",
        f"{S2} --tp 8 --deepep-mode normal",
        f"{S2} --tp 8 --deepep-mode normal --moe-a2a-backend deepep",
    ),
    sglang(
        "dp-lm-head",
        f"{S2} --tp 4 --dp 2 --enable-dp-lm-head",
        f"{S2} --tp 8 --dp 2 --enable-dp-lm-head --enable-dp-attention",
    ),
    sglang(
        "deepep-dispatch",
        f"{S2} --tp 8 --moe-a2a-backend deepep --cuda-graph-bs 480",
        f"{S2} --tp 8 --moe-a2a-backend deepep --cuda-graph-bs 128",
        around={"env": {"SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK": "256"}},
    ),
    sglang(
        "two-batch-overlap",
        f"{S2} --tp 8 --enable-two-batch-overlap",
        f"{S2} --tp 8 --enable-two-batch-overlap --attn-dp-size 8",
        release="0.5.23",
    ),
    sglang(
        "dense-tensor-size",
        f"{S2} --tp 8 --moe-dense-tp-size 4",
        f"{S2} --tp 8 --moe-dense-tp-size 8",
        release="0.5.23",
    ),
    sglang(
        "draft-with-pipeline",
        f"{S2} --pp-size 2 --speculative-algorithm EAGLE3 --speculative-draft-model-path /d",
        f"{S2} --pp-size 2 --speculative-algorithm EAGLE --speculative-draft-model-path /d",
        release="0.5.23",
    ),
    sglang("dp-attention-alone", f"{S2} --tp 8 --enable-dp-attention", f"{S2} --tp 8 --enable-dp-attention --dp 8"),
    sglang("dense-tensor-size", f"{S2} --moe-dense-tp-size 4", f"{S2} --moe-dense-tp-size 1"),
    sglang("mixed-chunk-pipeline", f"{S2} --pp-size 2 --enable-mixed-chunk", f"{S2} --pp-size 2"),
    sglang(
        "decode-sizes",
        f"{S2} --disaggregation-mode decode --disaggregation-decode-tp 8",
        f"{S2} --disaggregation-mode prefill --disaggregation-decode-tp 8",
    ),
    sglang("served-name-colon", f"{S2} --served-model-name kimi:k2", f"{S2} --served-model-name kimi-k2"),
    sglang(
        "priority-policy",
        f"{S2} --enable-priority-scheduling --schedule-policy lpm",
        f"{S2} --enable-priority-scheduling --schedule-policy fcfs",
    ),
    sglang(
        "ib-devices", f"{S2} --disaggregation-ib-device mlx5_0,mlx5_0", f"{S2} --disaggregation-ib-device mlx5_0,mlx5_1"
    ),
    sglang(
        "tokenizer-batching",
        f"{S2} --enable-tokenizer-batch-encode --enable-dynamic-batch-tokenizer",
        f"{S2} --enable-tokenizer-batch-encode",
    ),
    # speculative decoding
    vllm("eagle3-target", f"{K2} {spec(**{**EAGLE, 'model': '/d'})}", K2, release="0.10.0"),
    vllm("draft-method", f"{K25} {spec(**{**EAGLE, 'method': 'eagle'})}", f"{K25} {spec(**EAGLE)}"),
    vllm("draft-target", f"{K2} {spec(**EAGLE)}", f"{K25} {spec(**EAGLE)}"),
    vllm("draft-tokens", f"{K25} {spec(model=EAGLE['model'], method='eagle3')}", f"{K25} {spec(**EAGLE)}"),
    vllm(
        "draft-tensor-size",
        f"{K25} -tp 8 {spec(**EAGLE, draft_tensor_parallel_size=4)}",
        f"{K25} -tp 8 {spec(**EAGLE, draft_tensor_parallel_size=1)}",
    ),
    vllm("draft-tokens", f"{K25} {spec(method='ngram')}", f"{K25} {spec(method='ngram', num_speculative_tokens=3)}"),
    vllm("heads-divisible", "deepseek-ai/DeepSeek-R1 -tp 7", "deepseek-ai/DeepSeek-R1 -tp 8"),
    vllm(
        "prompt-lookup",
        f"{K25} {spec(method='ngram', num_speculative_tokens=3, prompt_lookup_min=5, prompt_lookup_max=3)}",
        f"{K25} {spec(method='ngram', num_speculative_tokens=3, prompt_lookup_min=2, prompt_lookup_max=3)}",
    ),
    vllm(
        "async-drafts",
        f"{K25} --async-scheduling {spec(method='ngram', num_speculative_tokens=3)}",
        f"{K25} --async-scheduling {spec(**EAGLE)}",
    ),
    sglang(
        "draft-missing",
        f"{S25} --speculative-algorithm EAGLE3",
        f"{S25} --speculative-algorithm EAGLE3 --speculative-draft-model-path lightseekorg/kimi-k2.5-eagle3",
    ),
    sglang(
        "draft-alone",
        f"{S25} --speculative-draft-model-path lightseekorg/kimi-k2.5-eagle3",
        f"{S25} --speculative-algorithm EAGLE3 --speculative-draft-model-path lightseekorg/kimi-k2.5-eagle3",
    ),
    sglang(
        "draft-missing",
        "--model-path meta-llama/Llama-3.1-8B-Instruct --speculative-algorithm EAGLE3",
        "--model-path meta-llama/Llama-3.1-8B-Instruct --speculative-algorithm NGRAM",
    ),
    sglang("draft-numbers", f"{S25} {CHAIN}", f"{S25} {CHAIN} --speculative-eagle-topk 1"),
    sglang(
        "draft-numbers",
        f"{S25} {EAGLE3_DRAFT} --speculative-num-draft-tokens 4",
        f"{S25} {EAGLE3_DRAFT}",
    ),
    sglang(
        "draft-chain",
        f"{S25} {CHAIN} --speculative-eagle-topk 1 --speculative-num-draft-tokens 8",
        f"{S25} {CHAIN} --speculative-eagle-topk 1 --speculative-num-draft-tokens 4",
    ),
    sglang(
        "draft-with-pipeline",
        f"{S25} --pp-size 2 --speculative-algorithm EAGLE3 --speculative-draft-model-path /d",
        f"{S25} --pp-size 2",
    ),
    # KV cache
    vllm(
        "fp8-kv-backend",
        f"{K25} --kv-cache-dtype fp8 --attention-backend FLASH_ATTN_MLA",
        f"{K25} --kv-cache-dtype fp8 --attention-backend FLASHMLA",
    ),
    vllm("mla-kv-type", f"{K25} --kv-cache-dtype fp8_e5m2", f"{K25} --kv-cache-dtype fp8"),
    vllm(
        "attention-backend",
        f"{K25} --attention-backend CUTLASS_MLA",
        f"{K25} --attention-backend FLASHMLA",
        around=H200,
    ),
    vllm(
        "attention-backend",
        f"{K25} --attention-backend CUTLASS_MLA",
        f"{K25} --attention-backend CUTLASS_MLA",
        around=H200,
        right_around={"gpu": "NVIDIA B200"},
    ),
    sglang("attention-backend", f"{S25} --attention-backend trtllm_mla", f"{S25} --attention-backend fa3", around=H200),
    vllm(
        "flashmla-blocks",
        f"{K25} --attention-backend FLASHMLA --block-size 16",
        f"{K25} --attention-backend FLASHMLA --block-size 64",
    ),
    vllm(
        "fp8-kv-chunked",
        f"{K2} --kv-cache-dtype fp8 --enable-chunked-prefill",
        f"{K2} --enable-chunked-prefill",
        release="0.10.0",
    ),
    vllm("context-length", f"{K2} --max-model-len 256k", f"{K25} --max-model-len 262144", found="256000"),
    vllm(
        "context-length",
        f"{K2} --max-model-len 262144",
        f"{K2} --max-model-len 262144",
        right_around={"env": {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}},
    ),
    sglang("context-length", f"{S2} --context-length 262144", f"{S25} --context-length 262144"),
    vllm(
        "kv-offloading",
        f"{K25} --kv-offloading-backend native",
        f"{K25} --kv-offloading-backend native --kv-offloading-size 256",
    ),
    sglang("memory-share", f"{S25} --mem-fraction-static 85", f"{S25} --mem-fraction-static 0.85"),
    sglang(
        "prefill-pages",
        f"{S25} --chunked-prefill-size 8100 --page-size 64",
        f"{S25} --chunked-prefill-size 8192 --page-size 64",
    ),
    # KT-Kernel
    kt("kt-method", f"{KT} --kt-method RAWINT8", f"{KT} --kt-method RAWINT4"),
    kt(
        "kt-method-cpu",
        f"{KT} --kt-method AMXINT4",
        f"{KT} --kt-method RAWINT4",
        around={"cpu_flags": AVX512},
        found="amx_tile",
    ),
    kt(
        "kt-method-default",
        S25.replace("--model", "--kt-weight-path moonshotai/Kimi-K2.5 --model"),
        f"{S25} --kt-weight-path moonshotai/Kimi-K2.5 --kt-method RAWINT4",
    ),
    kt("kt-rawint4-avx2", f"{KT} --kt-method RAWINT4", f"{KT} --kt-method LLAMAFILE", around={"cpu_flags": AVX2}),
    kt(
        "kt-forced-avx2",
        f"{KT} --kt-method RAWINT4",
        f"{KT} --kt-method RAWINT4",
        around={"env": {"KT_RAWINT4_BACKEND": "avx2"}},
        right_around={"env": {"KT_RAWINT4_BACKEND": "avxvnni"}},
    ),
    kt(
        "kt-variant",
        f"{KT} --kt-method RAWINT4",
        f"{KT} --kt-method RAWINT4",
        around={"cpu_flags": AVX512, "env": {"KT_KERNEL_CPU_VARIANT": "amx"}},
        right_around={"cpu_flags": AVX512, "env": {"KT_KERNEL_CPU_VARIANT": "avx512_bf16"}},
    ),
    kt(
        "kt-avx2-pools",
        f"{KT} --kt-method RAWINT4 --kt-threadpool-count 2",
        f"{KT} --kt-method RAWINT4 --kt-threadpool-count 1",
        around={"cpu_flags": AVX2 | {"avx_vnni"}},
    ),
    kt(
        "kt-cores",
        f"{KT} --kt-method RAWINT4 --kt-cpuinfer 384",
        f"{KT} --kt-method RAWINT4 --kt-cpuinfer 192",
        around={"cores": 192},
    ),
    kt(
        "kt-numa",
        f"{KT} --kt-method RAWINT4 --kt-threadpool-count 1",
        f"{KT} --kt-method RAWINT4 --kt-threadpool-count 2",
        around={"numa_nodes": 2},
    ),
    kt(
        "kt-gpu-experts",
        f"{KT} --kt-method RAWINT4 --kt-num-gpu-experts 400",
        f"{KT} --kt-method RAWINT4 --kt-num-gpu-experts 30",
    ),
    kt(
        "kt-memory",
        f"{KT} --kt-method RAWINT4",
        f"{KT} --kt-method RAWINT4",
        around={"host_memory_gib": 480.0},
        right_around={"host_memory_gib": 800.0},
        found="480 GiB",
    ),
    vllm(
        "graph-mode",
        f"{K25} --compilation-config '{json.dumps({'cudagraph_mode': 'FULLY'})}'",
        f"{K25} --compilation-config '{json.dumps({'cudagraph_mode': 'full_decode_only'})}'",
    ),
    replace(
        sglang("sglang-program", S2, S2, around={"program": "sglang serve"}),
        release="0.4.9.post6",
        right_around={"program": "sglang.launch_server"},
    ),
    sglang(
        "storage-config",
        f"{S25} {HICACHE} --hicache-storage-backend-extra-config '{{a'",
        f"{S25} {HICACHE} --hicache-storage-backend-extra-config '{{}}'",
    ),
    kt("kt-alone", f"{S25} --kt-method RAWINT4", f"{KT} --kt-method RAWINT4"),
    kt("kt-alone", f"{S25} --kt-num-gpu-experts 8", f"{KT} --kt-method RAWINT4 --kt-num-gpu-experts 8"),
    kt(
        "kt-dynamic-update",
        f"{KT} --kt-method RAWINT4 --kt-enable-dynamic-expert-update",
        f"{KT} --kt-method RAWINT4 --kt-enable-dynamic-expert-update --kt-gpu-prefill-token-threshold 400",
    ),
    kt(
        "kt-gpu",
        f"{KT} --kt-method RAWINT4",
        f"{KT} --kt-method RAWINT4",
        around={"gpu": "NVIDIA B200"},
        right_around={"gpu": "NVIDIA H100 NVL"},
    ),
    # network
    sglang(
        "stray-dollar",
        f"{S2} --tp 16 --nnodes 2 --dist-init-addr $NODE0$:5757",
        f"{S2} --tp 16 --nnodes 2 --dist-init-addr $NODE0:5757",
    ),
    sglang(
        "stray-dollar",
        f"{S2} --tp 16 --nnodes 2 --dist-init-addr node0$:5757",
        f"{S2} --tp 16 --nnodes 2 --dist-init-addr node0:5757",
    ),
    vllm(
        "port-clash",
        f"{K25} --port 13345 --data-parallel-rpc-port 13345",
        f"{K25} --port 8000 --data-parallel-rpc-port 13345",
    ),
    sglang(
        "port-clash",
        f"{S2} --tp 16 --nnodes 2 --dist-init-addr a:30000",
        f"{S2} --tp 16 --nnodes 2 --dist-init-addr a:5000",
    ),
    vllm("port-range", f"{K25} --port 80000", f"{K25} --port 8000"),
    sglang("first-node-missing", f"{S2} --tp 16 --nnodes 2", f"{S2} --tp 16 {DIST}"),
    sglang(
        "first-node-port",
        f"{S2} --tp 16 --nnodes 2 --dist-init-addr 10.0.0.1",
        f"{S2} --tp 16 --nnodes 2 --dist-init-addr 10.0.0.1:5000",
    ),
    sglang(
        "first-node-local",
        f"{S2} --tp 16 --nnodes 2 --dist-init-addr localhost:5000",
        f"{S2} --tp 8 --dist-init-addr localhost:5000",
    ),
    vllm(
        "first-node-local",
        f"{K25} -tp 16 --nnodes 2 --master-addr 127.0.0.1",
        f"{K25} -tp 16 --nnodes 2 --master-addr 10.0.0.1",
    ),
    vllm("first-node-missing", f"{K25} -tp 16 --nnodes 2 --node-rank 0", f"{K25} -tp 16 {NODES}"),
    vllm(
        "data-address-missing",
        f"{K2} --headless --data-parallel-start-rank 8 -dp 16 -dpl 8",
        f"{K2} --headless --data-parallel-start-rank 8 -dp 16 -dpl 8 --data-parallel-address $IP",
    ),
    vllm(
        "headless",
        f"{K25} -tp 16 --nnodes 2 --node-rank 1 --master-addr a",
        f"{K25} -tp 16 --nnodes 2 --node-rank 1 --master-addr a --headless",
    ),
    vllm(
        "interface",
        f"{K25} -tp 16 {NODES}",
        f"{K25} -tp 16 {NODES}",
        around={"env": {"NCCL_SOCKET_IFNAME": "lo"}},
        right_around={"env": {"NCCL_SOCKET_IFNAME": "ens3"}},
    ),
    sglang("localhost", S25, f"{S25} --host 0.0.0.0", around={"published": True}),
    # packages
    vllm(
        "ray-installed",
        f"{K2} -tp 16 --distributed-executor-backend ray",
        f"{K2} -tp 16 --distributed-executor-backend ray",
        around={"packages": {"vllm": "==0.19.1"}},
        right_around={"packages": {"vllm": "==0.19.1", "ray": ""}},
    ),
)

T2 = "moonshotai/Kimi-K2-Instruct --trust_remote_code"
TRTLLM = (
    Case(
        rule="model-quantization",
        wrong="moonshotai/Kimi-K2.5 --trust_remote_code --tp_size 8",
        right=f"{T2} --tp_size 8",
    ),
    Case(rule="tool-parser-model", wrong=f"{T2} --tool_parser qwen3", right=f"{T2} --tool_parser kimi_k2"),
    Case(
        rule="nvfp4-gpu",
        wrong="nvidia/Kimi-K2.5-NVFP4 --trust_remote_code",
        right="nvidia/Kimi-K2.5-NVFP4 --trust_remote_code",
        around=H200,
        right_around={"gpu": "NVIDIA B200"},
    ),
    Case(rule="trust-remote-code", wrong="moonshotai/Kimi-K2-Instruct", right=T2),
    Case(
        rule="memory-share", wrong=f"{T2} --free_gpu_memory_fraction 90", right=f"{T2} --free_gpu_memory_fraction 0.9"
    ),
    Case(rule="expert-ranks", wrong=f"{T2} --tp_size 8 --ep_size 3", right=f"{T2} --tp_size 8 --ep_size 8"),
    Case(
        rule="mpi-processes",
        wrong=f"{T2} --tp_size 8 --host 0.0.0.0",
        right=f"{T2} --tp_size 16 --host 0.0.0.0",
        around={"prefix": MPI},
    ),
    Case(
        rule="mpi-wrapper",
        wrong=f"{T2} --tp_size 16 --host 0.0.0.0",
        right=f"{T2} --tp_size 16 --host 0.0.0.0",
        around={"prefix": MPI[:-1]},
        right_around={"prefix": MPI},
    ),
    Case(rule="world-size", wrong=f"{T2} --tp_size 16", right=f"{T2} --tp_size 8"),
    Case(
        rule="mpi-slots",
        wrong=f"{T2} --tp_size 16 --host 0.0.0.0",
        right=f"{T2} --tp_size 16 --host 0.0.0.0",
        around={"prefix": ("mpirun", "-np", "16", "-H", "a,b", "trtllm-llmapi-launch")},
        right_around={"prefix": MPI},
    ),
    Case(
        rule="mpi-environment",
        wrong=f"{T2} --tp_size 16 --host 0.0.0.0",
        right=f"{T2} --tp_size 16 --host 0.0.0.0",
        around={"prefix": MPI, "env": {"NCCL_SOCKET_IFNAME": "ens3"}},
        right_around={
            "prefix": ("mpirun", "-x", "NCCL_SOCKET_IFNAME", *MPI[1:]),
            "env": {"NCCL_SOCKET_IFNAME": "ens3"},
        },
    ),
    Case(
        rule="localhost", wrong=f"{T2} --tp_size 16", right=f"{T2} --tp_size 16 --host 0.0.0.0", around={"prefix": MPI}
    ),
    Case(
        rule="trtllm-yaml",
        wrong=f"{T2} --config a.yml",
        right=f"{T2} --config a.yml",
        around={"files": {"a.yml": {"cuda_graph_config": {"padding_enabled": True}}}},
        right_around={"files": {"a.yml": {"cuda_graph_config": {"enable_padding": True}, "print_iter_log": True}}},
        found="padding_enabled",
    ),
    Case(rule="log-level", wrong=f"{T2} --log_level debugging", right=f"{T2} --log_level debug"),
    Case(
        rule="trtllm-yaml-syntax",
        wrong=f"{T2} --config a.yml",
        right=f"{T2} --config a.yml",
        around={"files": {"a.yml": None}, "file_texts": {"a.yml": "a:\n b: 1\n   c: 2\n"}},
        right_around={"files": {"a.yml": None}, "file_texts": {"a.yml": "a:\n {{ b }}: 1\n   c: 2\n"}},
    ),
    Case(
        rule="trtllm-decoding-type",
        wrong=f"{T2} --config a.yml",
        right=f"{T2} --config a.yml",
        around={"files": {"a.yml": {"speculative_config": {"decoding_type": "eagle"}}}},
        right_around={"files": {"a.yml": {"speculative_config": {"decoding_type": "Eagle"}}}},
    ),
    Case(
        rule="trtllm-said-twice",
        wrong=f"{T2} --config a.yml --tp_size 4",
        right=f"{T2} --config a.yml --tp_size 8",
        around={"files": {"a.yml": {"tensor_parallel_size": 8}}},
    ),
)


def _name(case: Case) -> str:
    return f"{case.engine}-{case.release}-{case.rule}"


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_a_rule_refuses_the_wrong_command_alone(case: Case) -> None:
    around = case.around if case.right_around is None else case.right_around
    assert rules_of(case.engine, case.release, case.wrong, case.around) == [case.rule]
    assert rules_of(case.engine, case.release, case.right, around) == []


@pytest.mark.parametrize("case", [case for case in CASES if case.found], ids=_name)
def test_the_problem_says_what_was_found(case: Case) -> None:
    [found] = findings(subject(case.engine, case.release, case.wrong, case.around))
    assert case.found in found.problem.found
    assert found.problem.why
    assert found.problem.source
    assert found.problem.where == "line 1"


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_an_edit_repairs_what_it_belongs_to(case: Case) -> None:
    words = tokens(case.wrong)
    checked = check(tables.load(case.engine, case.release), words)
    [found] = findings(subject(case.engine, case.release, case.wrong, case.around))
    if found.edit is not None:
        better = corrected(checked, words, [found])
        assert better is not None
        assert case.rule not in rules_of(case.engine, case.release, shlex.join(better), case.around), shlex.join(better)
        options = check(tables.load(case.engine, case.release), tokens(shlex.join(better)))
        assert [one.problem for one in options.findings if one.problem.level == "error"] == []


def _of_trtllm() -> list[tuple[Case, str]]:
    return [(case, release) for case in TRTLLM for release in tables.releases("trtllm")]


@pytest.mark.parametrize(("case", "release"), _of_trtllm(), ids=lambda value: getattr(value, "rule", value))
def test_tensorrt_llm(case: Case, release: str) -> None:
    around = case.around if case.right_around is None else case.right_around
    assert rules_of("trtllm", release, case.wrong, case.around) == [case.rule]
    assert rules_of("trtllm", release, case.right, around) == []


@pytest.mark.parametrize(
    ("key", "rules"), [("num_nextn_predict_layer", ["trtllm-decoding-type"]), ("speculative_model_dir", [])]
)
def test_keys_of_a_drafter(key: str, rules: list[str]) -> None:
    around = {"files": {"a.yml": {"speculative_config": {"decoding_type": "MTP", key: 1}}}}
    assert rules_of("trtllm", "1.3.0rc3", f"{T2} --config a.yml", around) == rules


@pytest.mark.parametrize("parser", ["kimi_k2", "kimi_k25"])
def test_kimis_reasoning_came_late_to_tensorrt_llm(parser: str) -> None:
    assert rules_of("trtllm", "1.3.0rc3", f"{T2} --reasoning_parser {parser}") == ["reasoning-parser-release"]
    assert rules_of("trtllm", "main-2026", f"{T2} --reasoning_parser {parser}") == []


@pytest.mark.parametrize("release", tables.releases("trtllm"))
def test_a_key_has_its_line(release: str) -> None:
    text = "print_iter_log: true\ncuda_graph_config:\n  padding_enabled: true\n"
    file = {"print_iter_log": True, "cuda_graph_config": {"padding_enabled": True}}
    around = {"files": {"/a.yml": file}, "file_places": {"/a.yml": "line 10"}, "file_texts": {"/a.yml": text}}
    [found] = findings(subject("trtllm", release, f"{T2} --config /a.yml", around))
    assert (found.problem.where, found.problem.token) == ("line 12", "padding_enabled")


def test_k25_came_late_to_tensorrt_llm() -> None:
    nvfp4 = subject("trtllm", "1.3.0rc3", "nvidia/Kimi-K2.5-NVFP4 --trust_remote_code")
    assert list(findings(nvfp4)) == []
    assert [found.problem.rule for found in findings(replace(nvfp4, release="1.2.1"))] == ["model-release"]


def test_every_rule_has_a_case() -> None:
    tested = {case.rule for case in CASES + TRTLLM}
    assert {rule.name for rule in RULES} - tested == {"tool-parser-alone", "reasoning-parser-release"}


def test_a_parser_of_tool_calls_alone_is_told_of_in_stacks_only() -> None:
    written = subject("vllm", "0.19.1", f"{K25} --tool-call-parser kimi_k2")
    assert list(findings(written)) == []
    [found] = findings(replace(written, commanded=False))
    assert (found.problem.rule, found.problem.level) == ("tool-parser-alone", "warning")


def test_names_and_texts_are_there() -> None:
    for rule in RULES:
        assert rule.title
        assert rule.why
        assert rule.source
        assert rule.name == rule.name.lower()


@pytest.mark.parametrize(
    "releases",
    [
        ("0.4.9.post2", "0.4.9.post6", "0.4.10", "0.5.10.post1", "0.5.23"),
        ("0.18.0rc1", "0.18.0", "0.19.1.dev8", "0.19.1", "0.33.0", "main-2026"),
    ],
)
def test_releases_are_ordered(releases: tuple[str, ...]) -> None:
    shuffled = (*releases[::2], *releases[1::2])
    assert sorted(shuffled, key=key) == list(releases)
    assert key("0.18") == key("v0.18.0+cu128")
