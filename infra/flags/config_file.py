"""Configuration files of the engines: TensorRT-LLM's YAML against its classes, and vLLM's and SGLang's as options."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from hosts.problem import Problem
from infra.flags.check import check
from infra.flags.finding import Finding
from infra.flags.shapes import Fault, Reader
from infra.flags.table import FlagTable
from infra.flags.words import Token

MOVED: Mapping[str, str] = {
    "use_cuda_graph": "cuda_graph_config",
    "cuda_graph_padding_enabled": "cuda_graph_config.enable_padding",
    "cuda_graph_config.padding_enabled": "cuda_graph_config.enable_padding",
    "cuda_graph_batch_sizes": "cuda_graph_config.batch_sizes",
    "cuda_graph_max_batch_size": "cuda_graph_config.max_batch_size",
    "kv_cache_dtype": "kv_cache_config.dtype",
    "free_gpu_memory_fraction": "kv_cache_config.free_gpu_memory_fraction",
    "kv_cache_free_gpu_memory_fraction": "kv_cache_config.free_gpu_memory_fraction",
    "enable_block_reuse": "kv_cache_config.enable_block_reuse",
    "moe_backend": "moe_config.backend",
    "moe_max_num_tokens": "moe_config.max_num_tokens",
    "moe_load_balancer": "moe_config.load_balancer",
    "enable_overlap_scheduler": "disable_overlap_scheduler",
    "autotuner_enabled": "enable_autotuner",
    "attention_backend": "attn_backend",
    "attention_dp": "enable_attention_dp",
    "tp_size": "tensor_parallel_size",
    "pp_size": "pipeline_parallel_size",
    "ep_size": "moe_expert_parallel_size",
    "max_model_len": "max_seq_len",
}
"""Keys that TensorRT-LLM's file no longer has, or that belong elsewhere in it."""


def config_findings(
    table: FlagTable, config: Mapping[str, object], where: Mapping[str, str] | str
) -> Iterator[Finding]:
    """What the release refuses in its file; `where` is the place of the file, or of each key by its dotted path."""
    if table.root:
        for fault in Reader(classes=table.classes).faults({"class": table.root}, config):
            yield Finding(problem=_problem(table, fault, _place(where, fault.where)))
        return
    if table.parser in ("flexible", "argparse"):
        yield from _as_options(table, config, where)


def _problem(table: FlagTable, fault: Fault, where: str) -> Problem:
    moved = MOVED.get(fault.where) if fault.found == fault.where else None
    better = ".".join((*fault.path[:-1], fault.better)) if fault.better and fault.found == fault.where else fault.better
    fix = f"write {moved}" if moved else f"did you mean {better}?" if better else None
    return Problem(
        where=where,
        token=fault.where,
        found=fault.found if fault.found == fault.where else f"{fault.where}: {fault.found}",
        wanted=fault.wanted,
        why=fault.why,
        fix=fix,
        rule="config",
        source=table.source,
    )


def _place(where: Mapping[str, str] | str, path: str) -> str:
    if isinstance(where, str):
        return where
    while path and path not in where:
        path = path.rpartition(".")[0]
    return where.get(path, "the file")


def _as_options(table: FlagTable, config: Mapping[str, object], where: Mapping[str, str] | str) -> Iterator[Finding]:
    """Each key becomes the option that the engine makes of it."""
    for key, value in config.items():
        words = [Token(text=word) for word in option_words(str(key), value)]
        if not words:
            continue
        for finding in check(table, words, partial=True).findings:
            problem = replace(finding.problem, where=_place(where, str(key)), token=str(key), rule="config")
            yield Finding(problem=problem)


def option_words(key: str, value: object) -> list[str]:
    """The words of a command that say the same as a key of the file; none where it says nothing."""
    option = f"--{key}"
    if isinstance(value, bool):
        return [option] if value else []
    if isinstance(value, Mapping):
        return [option, json.dumps(value)]
    if isinstance(value, list):
        return [option, *(str(item) for item in value)] if value else []
    return [] if value is None else [option, str(value)]
