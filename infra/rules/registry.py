"""The registry: every rule, in the order in which problems are told."""

from infra.rules import (
    documents,
    eplb,
    ktransformers,
    kv_cache,
    model_support,
    mpi,
    network,
    packages,
    parallel,
    programs,
    sglang,
    speculative,
    trtllm,
    values,
    vllm,
    world,
)
from infra.rules.rule import Rule
from infra.rules.script import ScriptRule

GROUPS: tuple[tuple[str, tuple[Rule, ...] | tuple[ScriptRule, ...]], ...] = (
    ("Models", model_support.RULES),
    ("Parallelism", parallel.RULES),
    ("Ranks, GPUs and nodes", world.RULES),
    ("Expert balancing", eplb.RULES),
    ("vLLM", vllm.RULES),
    ("SGLang", sglang.RULES),
    ("Speculative decoding", speculative.RULES),
    ("KV cache and attention", kv_cache.RULES),
    ("Values", values.RULES),
    ("TensorRT-LLM's file", trtllm.RULES),
    ("TensorRT-LLM and MPI", mpi.RULES),
    ("KT-Kernel", ktransformers.RULES),
    ("Network", network.RULES),
    ("Packages of a command", packages.RULES),
    ("Packages of a document", packages.SCRIPT_RULES),
    ("Programs of a document", programs.SCRIPT_RULES),
    ("Documents", documents.SCRIPT_RULES),
)
"""All rules by the heading under which docs/rules.md lists them."""
RULES: tuple[Rule, ...] = tuple(rule for _, rules in GROUPS for rule in rules if isinstance(rule, Rule))
SCRIPT_RULES: tuple[ScriptRule, ...] = tuple(
    rule for _, rules in GROUPS for rule in rules if isinstance(rule, ScriptRule)
)
