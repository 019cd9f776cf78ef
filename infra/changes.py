"""The nearest changes that make a part of a deployment fit, in the words of its stack file; cheapest first."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from hosts.problem import Problem
from infra.ledger.fit import Fit
from infra.ledger.nearest import MEMORY, nearest

_ENGINE: Mapping[str, Mapping[str, str]] = {
    "vllm": {
        "--utilization": "gpu-memory-utilization",
        "--max-model-len": "max-model-len",
        "--kv-dtype": "kv-cache-dtype",
        "--max-num-seqs": "max-num-seqs",
    },
    "sglang": {
        "--utilization": "mem-fraction-static",
        "--max-model-len": "context-length",
        "--kv-dtype": "kv-cache-dtype",
        "--max-num-batched-tokens": "chunked-prefill-size",
    },
    "trtllm": {"--utilization": "free_gpu_memory_fraction", "--max-model-len": "max_seq_len"},
}
"""The engine's own option for one of `invoke fit`."""
_SIZES: Mapping[str, str] = {"--tensor": "tensor", "--pipeline": "pipeline", "--data": "data"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change that was checked. `settings` are lines of a stack file; `tokens` is the KV cache that it leads to."""

    settings: tuple[str, ...]
    cost: str
    tokens: int
    gpus: int

    @property
    def text(self) -> str:
        """All its settings."""
        return ", ".join(self.settings)

    def to_json(self) -> dict[str, object]:
        """For `--json`."""
        return {"settings": list(self.settings), "cost": self.cost, "kv_tokens": self.tokens, "gpus": self.gpus}


def changes(found: Fit, *, inside: bool = False, nodes: int | None = None) -> tuple[Change, ...]:
    """What would make it fit; () where it fits, or nothing that is known helps.

    `inside`: the engine runs in a role of another, whose stack file has no line for its options. `nodes`: how many
    there are.
    """
    return tuple(
        Change(
            settings=tuple(_settings(found, suggestion.options, inside=inside)),
            cost=suggestion.cost + _beyond(suggestion.fit.request.nodes, nodes),
            tokens=suggestion.fit.gpu.tokens,
            gpus=suggestion.fit.request.gpus_per_node * suggestion.fit.request.nodes,
        )
        for suggestion in nearest(found.request)
    )


def _beyond(asked: int, nodes: int | None) -> str:
    return f"; this fleet has {nodes}" if nodes is not None and asked > nodes else ""


def explained(problem: Problem, cheapest: Change) -> Problem:
    """A problem of memory, with what would solve it as its fix."""
    if problem.rule not in MEMORY or problem.fix:
        return problem
    return replace(problem, fix=f"{cheapest.text} ({cheapest.cost})")


def _settings(found: Fit, options: Mapping[str, str], *, inside: bool) -> Iterator[str]:
    """`parallelism.tensor: 16`, `engine.args.max-model-len: 131072`, and what has no line of its own in words."""
    r = found.request
    names = _ENGINE["sglang" if r.engine.startswith(("sglang", "kt")) else r.engine]
    for option, value in options.items():
        if option in _SIZES:
            yield f"{r.place(_SIZES[option]).removeprefix('$.')}: {value}"
        elif option in names and inside:
            yield f"{names[option]} {value} of its {r.engine}"
        elif option in names:
            base = r.place("tensor").removeprefix("$.").removesuffix("parallelism.tensor")
            yield f"{base or 'engine.'}args.{names[option]}: {value}"
        elif option == "--quant":
            yield f"a checkpoint in {value}"
        elif option == "--nodes":
            yield f"{value} nodes"
        else:
            yield f"{option.lstrip('-')} {value}"
