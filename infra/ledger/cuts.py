"""What must divide what for an engine to take a plan: heads, experts, blocks of scales; for `invoke fit` alone.

Stacks and commands are held against the same by infra/rules/parallel.py, whose names these have.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from hosts.problem import Problem
from infra import precision as precisions
from infra.architecture import Architecture
from infra.ledger.request import FitRequest

BLOCKS = {"fp8-block": ("fp8-blocks", 128), "compressed-tensors-int4": ("int4-marlin-slices", 64)}
"""Rule, and what the width of a slice of an expert must be a multiple of: a block of scales, a tile of Marlin."""


def expert_slices(r: FitRequest) -> int:
    """Into how many slices each expert is cut."""
    if r.expert:
        return 1
    return r.tensor * (r.data if r.engine == "vllm" or r.dp_attention else 1)


def refusals(r: FitRequest) -> Iterator[Problem]:
    """Why an engine would not start, whatever the memory."""
    for breach in _breaches(r):
        yield Problem(
            where=r.place(breach.field),
            rule=breach.rule,
            found=breach.found,
            wanted=breach.wanted,
            why=f"{r.engine} refuses it",
            fix=breach.fix or None,
            source="infra/rules/parallel.py",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Breach:
    field: str
    rule: str
    found: str
    wanted: str
    fix: str = ""


def _breaches(r: FitRequest) -> Iterator[_Breach]:
    a = r.model.architecture
    if a.heads % r.tensor:
        yield _Breach(
            field="tensor",
            rule="heads-divisible",
            found=f"{a.heads} heads over {r.tensor} ranks",
            wanted=f"a divisor of {a.heads}",
            fix=f"--tensor {_near(r, a)}",
        )
    if 0 < a.context < r.context:
        yield _Breach(
            field="max_model_len",
            rule="context-length",
            found=f"sequences of {r.context} tokens",
            wanted=f"at most {a.context}, the context of {r.model.name}",
            fix=f"--max-model-len {a.context}, or leave it out",
        )
    if r.pipeline > a.layers:
        yield _Breach(
            field="pipeline",
            rule="pipeline-layers",
            found=f"{r.pipeline} stages",
            wanted=f"at most {a.layers}, the layers",
        )
    if r.tensor % r.decode_context:
        yield _Breach(
            field="decode_context",
            rule="decode-context-parallel",
            found=f"{r.decode_context} with tensor {r.tensor}",
            wanted=f"a divisor of {r.tensor}",
        )
    if a.experts:
        yield from _experts(r, a)


def _near(r: FitRequest, a: Architecture) -> int:
    """The nearest tensor size that divides heads and experts, on the GPUs that are there; of two the larger."""
    have = max(1, r.gpus_per_node * r.nodes // (r.pipeline * r.data))
    _, block = _block(r)
    others = expert_slices(r) // r.tensor if not r.expert else 0
    sizes = [n for n in range(1, min(a.heads, have) + 1) if a.heads % n == 0]
    whole = [n for n in sizes if _whole(a.expert_intermediate, n * others, block)]
    return min(whole or sizes, key=lambda n: (abs(n - r.tensor), -n))


def _block(r: FitRequest) -> tuple[str, int]:
    """(rule, block) of the experts' format; 0 where any width will do."""
    return BLOCKS.get(precisions.scheme(r.quantization or r.model.quantization) or "", ("", 0))


def _whole(width: int, slices: int, block: int) -> bool:
    """Whether slices of an expert consist of whole blocks."""
    return not block or slices <= 1 or (width % slices == 0 and width // slices % block == 0)


def _experts(r: FitRequest, a: Architecture) -> Iterator[_Breach]:
    ranks, experts = r.tensor * r.data, a.experts + r.redundant_experts
    if r.expert and experts % ranks:
        yield _Breach(
            field="expert",
            rule="experts-divisible",
            found=f"{experts} experts over {ranks} ranks",
            wanted=f"a divisor of {experts}",
        )
    rule, block = _block(r)
    slices, width = expert_slices(r), a.expert_intermediate
    if not _whole(width, slices, block):
        most = max((n for n in range(1, slices) if width % n == 0 and width // n % block == 0), default=1)
        yield _Breach(
            field="tensor",
            rule=rule,
            found=f"experts {width} wide in {slices} slices of {width / slices:g}",
            wanted=f"slices that are a multiple of {block}",
            fix=f"--tensor {_near(r, a)}, or --expert" if slices == r.tensor else f"at most {most} slices, or --expert",
        )
