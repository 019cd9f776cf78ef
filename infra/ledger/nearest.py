"""The nearest changes that make a plan fit, cheapest first, each checked by the ledger itself."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from infra import precision as precisions
from infra.ledger import defaults
from infra.ledger.cuts import refusals
from infra.ledger.fit import Fit, fit
from infra.ledger.request import AUTO, KT_ENGINES, FitRequest

MOST_SUGGESTIONS = 6
UTILIZATIONS = (0.92, 0.95)
MEMORY = ("gpu-memory",)
SHORTEST = 8192
"""A context that is still of use."""
SMALLER = ("fp8-block", "compressed-tensors-int4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """One change. `options` are those of `invoke fit` with their values; `cost` is what one pays for it."""

    options: Mapping[str, str]
    cost: str
    fit: Fit

    @property
    def text(self) -> str:
        """The options as they are written."""
        return " ".join(f"{name} {value}".strip() for name, value in self.options.items())

    def to_json(self) -> dict[str, object]:
        """With the numbers that it leads to."""
        d = self.fit.gpu
        return {
            "options": dict(self.options),
            "cost": self.cost,
            "kv_gib": round(d.kv, 2),
            "kv_tokens": d.tokens,
            "weights_gib": round(d.weights_gib, 2),
            "gpus": self.fit.request.gpus_per_node * self.fit.request.nodes,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    options: Mapping[str, str]
    cost: str
    request: FitRequest


def nearest(r: FitRequest) -> tuple[Suggestion, ...]:
    """Changes that make a request fit that does not, cheapest first; empty where it fits or nothing here helps."""
    first = fit(r)
    if first.fits:
        return ()
    found: list[Suggestion] = []
    costs: set[str] = set()
    for change in _changes(r, first):
        # Of one kind of change the smallest is enough.
        if change.cost in costs or len(found) == MOST_SUGGESTIONS:
            continue
        then = fit(change.request)
        if then.fits and not any(refusals(change.request)):
            found.append(Suggestion(options=change.options, cost=change.cost, fit=then))
            costs.add(change.cost)
    return tuple(found)


def answer(r: FitRequest) -> tuple[Fit, tuple[Suggestion, ...]]:
    """The ledger of a request with its fixes, and what would make it fit: all that `invoke fit` says."""
    found, suggestions = fit(r), nearest(r)
    found = replace(found, problems=(*refusals(r), *found.problems))
    return explained(found, suggestions), suggestions


def document(found: Fit, suggestions: Sequence[Suggestion]) -> dict[str, object]:
    """What `invoke fit --json` prints."""
    return {**found.to_json(), "nearest": [suggestion.to_json() for suggestion in suggestions]}


def explained(found: Fit, suggestions: Sequence[Suggestion]) -> Fit:
    """The same ledger, its problems of memory with the cheapest change as their fix."""
    if not suggestions:
        return found
    fix = f"{suggestions[0].text} ({suggestions[0].cost})"
    return replace(found, problems=tuple(replace(p, fix=fix) if p.rule in MEMORY else p for p in found.problems))


def _changes(r: FitRequest, first: Fit) -> Iterator[_Change]:
    """Candidates, cheapest first: what costs nothing, then quality, then machines."""
    yield from _too_many(r)
    yield from _idle(r)
    yield from _utilization(r)
    yield from _shorter(r, first)
    yield from _fp8(r, first)
    yield from _smaller_batches(r)
    yield from _prefill(r)
    yield from _together(r)
    yield from _quantised(r)
    yield from _more_nodes(r)


def _too_many(r: FitRequest) -> Iterator[_Change]:
    """Fewer ranks, or as many nodes as the ranks take."""
    have = r.gpus_per_node * r.nodes
    if r.world <= have:
        return
    heads, most = r.model.architecture.heads, have // (r.pipeline * r.data)
    tensor = next((n for n in range(most, 0, -1) if heads % n == 0), 0)
    if tensor:
        yield _Change(
            options={"--tensor": str(tensor)},
            cost="fewer ranks, on the GPUs that are there",
            request=replace(r, tensor=tensor),
        )
    nodes = -(-r.world // r.gpus_per_node)
    yield _Change(
        options={"--nodes": str(nodes)}, cost="as many nodes as the ranks take", request=replace(r, nodes=nodes)
    )


def _idle(r: FitRequest) -> Iterator[_Change]:
    """GPUs that are there and not in use."""
    for tensor in _wider(r):
        yield _Change(
            options={"--tensor": str(tensor)},
            cost="GPUs that are idle in this plan",
            request=replace(r, tensor=tensor),
        )


def _wider(r: FitRequest) -> list[int]:
    """Tensor sizes that the GPUs which are there allow, beyond the one asked for."""
    have, heads = r.gpus_per_node * r.nodes, r.model.architecture.heads
    sizes = [r.tensor * 2**n for n in range(1, 9)]
    return [tensor for tensor in sizes if tensor * r.pipeline * r.data <= have and heads % tensor == 0]


def _utilization(r: FitRequest) -> Iterator[_Change]:
    now = defaults.utilization(r)
    for share in UTILIZATIONS:
        if share > now:
            yield _Change(
                options={"--utilization": f"{share:g}"},
                cost="less room for graphs and peaks outside the share",
                request=replace(r, utilization=share),
            )


def _shorter(r: FitRequest, first: Fit) -> Iterator[_Change]:
    """The longest context that fits, in steps of 1024 tokens."""
    if first.gpu.kv <= 0 or r.max_model_len == AUTO:
        return
    longest = _longest(r)
    low, high = 0, longest // 1024
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fit(replace(r, max_model_len=middle * 1024)).fits else (low, middle - 1)
    if low * 1024 >= min(SHORTEST, longest):
        length = low * 1024
        yield _Change(
            options={"--max-model-len": str(length)},
            cost="shorter requests",
            request=replace(r, max_model_len=length),
        )


def _longest(r: FitRequest) -> int:
    """Tokens that a sequence may have: no more than the model knows places for, whatever was asked."""
    return min(r.context, r.model.architecture.context or r.context)


def _fp8(r: FitRequest, first: Fit) -> Iterator[_Change]:
    if r.kv_dtype == "auto" and first.gpu.kv > 0:
        yield _Change(options={"--kv-dtype": "fp8"}, cost="KV cache in FP8", request=replace(r, kv_dtype="fp8"))


def _smaller_batches(r: FitRequest) -> Iterator[_Change]:
    for count in (256, 64):
        if r.engine == "vllm" and count < defaults.sequences(r):
            yield _Change(
                options={"--max-num-seqs": str(count)},
                cost="fewer sequences at once",
                request=replace(r, max_num_seqs=count),
            )


def _prefill(r: FitRequest) -> Iterator[_Change]:
    """Smaller pools on a host of KTransformers."""
    for chunk in (8192, 4096):
        if r.engine in KT_ENGINES and r.kt and chunk < defaults.chunked_prefill(r):
            yield _Change(
                options={"--max-num-batched-tokens": str(chunk)},
                cost="slower prefill",
                request=replace(r, max_num_batched_tokens=chunk),
            )


def _together(r: FitRequest) -> Iterator[_Change]:
    """What none of them does alone."""
    if r.engine == "trtllm" or r.max_model_len == AUTO:
        return
    share = max(UTILIZATIONS[-1], defaults.utilization(r))
    longest = _longest(r)
    for length in (longest, 131072, 65536, 32768, 16384, SHORTEST):
        if length > longest:
            continue
        options = {"--utilization": f"{share:g}", "--kv-dtype": "fp8"}
        options |= {"--max-model-len": str(length)} if length < r.context else {}
        yield _Change(
            options=options,
            cost="all of these together",
            request=replace(r, utilization=share, kv_dtype="fp8", max_model_len=length),
        )


def _quantised(r: FitRequest) -> Iterator[_Change]:
    now = r.precision.routed if r.model.architecture.experts else r.precision.dense
    names = SMALLER if r.model.architecture.experts else ("fp8", "w4a16")
    for name in names:
        then = precisions.of(name)
        if (then.routed if r.model.architecture.experts else then.dense) < now:
            yield _Change(
                options={"--quant": name}, cost=f"another checkpoint ({name})", request=replace(r, quantization=name)
            )


def _more_nodes(r: FitRequest) -> Iterator[_Change]:
    """More machines: whole pipeline stages first, which talk least; then wider tensors, then replicas of attention."""
    # nobody adds a node to one that is half idle
    full = max(_wider(r), default=r.tensor)
    own = {"--tensor": str(full)} if full != r.tensor else {}
    r = replace(r, tensor=full)
    for times in (2, 4):
        nodes = {"--nodes": str(r.nodes * times)} | own
        wider = replace(r, nodes=r.nodes * times)
        if r.data > 1:
            data = {"--data": str(r.data * times)}
            yield _Change(
                options=nodes | data, cost="more nodes, more ranks", request=replace(wider, data=r.data * times)
            )
            continue
        stages = {"--pipeline": str(r.pipeline * times)}
        if r.engine != "trtllm":
            yield _Change(
                options=nodes | stages,
                cost="more nodes, as pipeline stages",
                request=replace(wider, pipeline=r.pipeline * times),
            )
        if r.model.architecture.heads % (r.tensor * times) == 0:
            yield _Change(
                options=nodes | {"--tensor": str(r.tensor * times)},
                cost="more nodes, as tensor ranks",
                request=replace(wider, tensor=r.tensor * times),
            )
