"""Environment variables of an engine, held against those that the release reads."""

from collections.abc import Iterator, Mapping

from hosts.problem import Problem
from infra.flags.finding import Finding
from infra.flags.near import nearest_name, nearest_value
from infra.flags.table import FlagTable, load, releases

PREFIXES: Mapping[str, tuple[str, ...]] = {
    "vllm": ("VLLM_",),
    "sglang": ("SGLANG_", "SGL_"),
    "sglang-kt": ("SGLANG_", "SGL_"),
}
RENAMED: Mapping[str, str] = {
    "VLLM_ALL2ALL_BACKEND": "--all2all-backend",
    "VLLM_ATTENTION_BACKEND": "--attention-backend",
}
"""Variables that have become options."""


def environment_findings(table: FlagTable, names: Mapping[str, str]) -> Iterator[Finding]:
    """Variables that the release does not read; `names` are those that are exported or given, with their places."""
    for name, where in names.items():
        if not table.variables or name in table.variables or not name.startswith(PREFIXES.get(table.engine, ("\0",))):
            continue
        known = _elsewhere(table, name)
        near = nearest_name(
            name, [one for one in (*table.variables, *RENAMED) if one.startswith(name.partition("_")[0])]
        )
        option = RENAMED.get(name) or (RENAMED.get(near, "") if near and near not in table.variables else "")
        if not known and not (near and _is_slip(name, near)):
            continue
        fix = f"write {option}" if option in table.flags else f"did you mean {near}?" if near and not known else None
        yield Finding(
            problem=Problem(
                where=where,
                token=name,
                found=name,
                wanted=f"a variable that {table.engine} {table.release} reads",
                why=known or "it is not read, and nothing says so",
                fix=fix,
                level="warning",
                rule="environment-variable",
                source=table.source,
            )
        )


def _is_slip(name: str, near: str) -> bool:
    """Whether the names differ by letters, not by a word: VLLM_PORTS, not VLLM_MODEL_PORT or VLLM_ROCM_PORT."""
    words, others = name.split("_"), near.split("_")
    close = (nearest_value(word, (other,)) for word, other in zip(words, others, strict=False))
    return "".join(words) == "".join(others) or (len(words) == len(others) and all(close))


def _elsewhere(table: FlagTable, name: str) -> str:
    """Which other release reads it."""
    have = [one for one in releases(table.engine) if name in load(table.engine, one).variables]
    if not have:
        return ""
    return f"{table.engine} {', '.join(have)} {'reads' if len(have) == 1 else 'read'} it"
