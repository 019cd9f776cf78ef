"""Arithmetic of parallelism: what must divide what."""

from collections.abc import Iterator

from infra.rules.rule import SGLANG, TRTLLM, VLLM, Breach, Rule
from infra.rules.subject import Subject

TENSOR = ("tensor-parallel-size", "tp-size", "tp_size")
PIPELINE = ("pipeline-parallel-size", "pp-size", "pp_size")
DATA = ("data-parallel-size", "attn-dp-size", "dp-size")
_MODEL = "vllm 0.19.1, vllm/config/model.py: verify_with_parallel_config"


def _attention_ranks(s: Subject) -> int | None:
    """Among how many ranks the heads of one layer are divided."""
    p = s.parallelism
    if p is None:
        return None
    if s.engine.startswith("sglang") and (s.given("enable-dp-attention") or "attn-dp-size" in s.options):
        return p.tensor // p.data if p.data and p.tensor % p.data == 0 else None
    if s.engine == "trtllm" and s.config is not None and s.config.get("enable_attention_dp") is True:
        return 1
    return None if s.engine == "trtllm" and s.config is None and "config" in s.options else p.tensor


def _heads(s: Subject) -> Iterator[Breach]:
    ranks = _attention_ranks(s)
    heads = s.model.architecture.heads if s.model else 0
    if ranks and heads and heads % ranks:
        fits = [n for n in range(1, heads + 1) if heads % n == 0 and n <= ranks]
        yield Breach(
            options=TENSOR,
            found=f"{heads} heads over {ranks} tensor ranks",
            wanted=f"a tensor size that divides {heads}",
            fix=f"use {fits[-1]}, and pipeline or data parallelism for the rest",
        )


def _expert_ranks(s: Subject) -> int | None:
    """Among how many ranks whole experts are divided; None without expert parallelism, or where that is not known."""
    p = s.parallelism
    if p is None or not p.expert:
        return None
    if s.engine == "vllm":
        return p.tensor * p.data
    if s.engine == "trtllm":
        size = s.config.get("moe_expert_parallel_size") if s.config else None
        return size if isinstance(size, int) else s.number("ep_size")
    backend = s.options.get("moe-a2a-backend", "none")
    return p.tensor if backend != "none" or s.given("enable-deepep-moe") else s.number("ep-size")


def _redundant(s: Subject) -> int | None:
    config = s.mapping("eplb-config")
    if config is not None:
        value = config.get("num_redundant_experts", 0)
        return value if isinstance(value, int) else None
    if "eplb-config" in s.options:
        return None
    for name in ("num-redundant-experts", "ep-num-redundant-experts"):
        if name in s.options:
            return s.number(name)
    return 0


def _positive(s: Subject) -> Iterator[Breach]:
    for name in (*TENSOR, *PIPELINE, *DATA, "ep-size", "ep_size", "nnodes", "decode-context-parallel-size"):
        size = s.number(name)
        if size is not None and size < 1:
            yield Breach(options=(name,), found=str(size), wanted="a number above 0")


def _experts(s: Subject) -> Iterator[Breach]:
    ranks, redundant = _expert_ranks(s), _redundant(s)
    experts = s.model.architecture.experts if s.model else 0
    if ranks and experts and redundant is not None and (experts + redundant) % ranks:
        more = f" and {redundant} redundant ones" if redundant else ""
        yield Breach(
            options=(
                "ep-num-redundant-experts",
                "num-redundant-experts",
                "eplb-config",
                "ep-size",
                "ep_size",
                *DATA,
                *TENSOR,
            ),
            found=f"{experts} experts{more} over {ranks} ranks",
            wanted=f"a number of expert ranks that divides {experts + redundant}",
            fix=f"with {ranks} ranks, {-experts % ranks} redundant experts make it even" if ranks < experts else None,
        )


def _expert_slices(s: Subject) -> int | None:
    """Into how many slices each expert's matrices are cut; None where that is not known."""
    p = s.parallelism
    if p is None:
        return None
    if s.engine == "vllm":
        return 1 if p.expert else p.tensor * p.data
    if not p.expert:
        return p.tensor
    ranks = _expert_ranks(s)
    return p.tensor // ranks if ranks and p.tensor % ranks == 0 else None


def _blocks(s: Subject, kind: str, block: int) -> Iterator[Breach]:
    slices = _expert_slices(s)
    if s.model is None or not s.model.quantization.startswith(kind) or not slices or any(_heads(s)):
        return
    width = s.model.architecture.expert_intermediate
    if width and (width % slices or width // slices % block):
        most = max((n for n in range(1, slices) if width % n == 0 and width // n % block == 0), default=1)
        yield Breach(
            options=TENSOR,
            found=f"experts {width} wide in {slices} slices of {width / slices:g}",
            wanted=f"slices that are a multiple of {block}: at most {most} of them",
            fix=f"use a tensor size of at most {most}, and pipeline parallelism or whole experts a rank for the rest",
        )


def _fp8_blocks(s: Subject) -> Iterator[Breach]:
    yield from _blocks(s, "fp8-block", 128)


def _int4_blocks(s: Subject) -> Iterator[Breach]:
    yield from _blocks(s, "compressed-tensors-int4", 64)


def _layers(s: Subject) -> Iterator[Breach]:
    p, layers = s.parallelism, s.model.architecture.layers if s.model else 0
    if p and layers and p.pipeline > layers:
        yield Breach(
            options=PIPELINE, found=f"{p.pipeline} pipeline stages for {layers} layers", wanted=f"at most {layers}"
        )


def _no_experts(s: Subject) -> Iterator[Breach]:
    if s.given("enable-expert-parallel") and s.model and s.model.architecture.experts == 0:
        yield Breach(
            options=("enable-expert-parallel",),
            found=f"expert parallelism for {s.model.name}, which has no experts",
            wanted="a model with experts",
            fix="leave it out",
            edit=s.edit("enable-expert-parallel"),
        )


def _context_parallel(s: Subject) -> Iterator[Breach]:
    p, size = s.parallelism, s.number("decode-context-parallel-size")
    if s.count("prefill-context-parallel-size", 1) != 1:
        return  # then decode context ranks may span both
    if p and size is not None and size > 0 and p.tensor % size:
        yield Breach(
            options=("decode-context-parallel-size",),
            found=f"{size} for a tensor size of {p.tensor}",
            wanted=f"a divisor of {p.tensor}",
        )


def _dp_attention(s: Subject) -> Iterator[Breach]:
    p = s.parallelism
    shared = s.given("enable-dp-attention") or "attn-dp-size" in s.options
    if p and shared and p.data > 1 and p.tensor % p.data:
        yield Breach(
            options=("attn-dp-size", "dp-size"),
            found=f"{p.data} attention groups over {p.tensor} tensor ranks",
            wanted=f"a divisor of {p.tensor}",
        )


def _ep_divides_tp(s: Subject) -> Iterator[Breach]:
    p = s.parallelism
    size = s.number("ep-size") or s.number("ep_size")
    if s.config is not None and isinstance(s.config.get("moe_expert_parallel_size"), int):
        return
    if p and size and p.tensor % size:
        yield Breach(
            options=("ep-size", "ep_size"),
            found=f"{size} expert ranks in {p.tensor} tensor ranks",
            wanted=f"a divisor of {p.tensor}",
            why="experts are divided among the ranks of the tensor group",
        )


RULES: tuple[Rule, ...] = (
    Rule(
        name="sizes-positive",
        title="a size of parallelism that is not above 0",
        why="it is a number of ranks or nodes",
        source="vllm 0.33.0, vllm/config/parallel.py: ge=1",
        check=_positive,
    ),
    Rule(
        name="heads-divisible",
        title="a tensor size that does not divide the attention heads",
        why="each rank holds the same number of heads",
        source=_MODEL,
        check=_heads,
    ),
    Rule(
        name="experts-divisible",
        title="experts, with redundant ones, that don't divide evenly among the expert ranks",
        why="each rank holds the same number of experts",
        source="sglang 0.5.9, sglang/srt/layers/moe/fused_moe_triton/layer.py; vllm 0.19.1, vllm/distributed/eplb",
        check=_experts,
    ),
    Rule(
        name="fp8-blocks",
        title="slices of FP8 experts that cut through a 128 x 128 block of scales",
        why="a slice with a broken block has no scale: 2048 wide experts go into at most 16 slices",
        source="vllm 0.19.1, vllm/model_executor/layers/quantization/utils/fp8_utils.py: validate_fp8_block_shape",
        check=_fp8_blocks,
    ),
    Rule(
        name="int4-marlin-slices",
        engines=VLLM | SGLANG,
        title="slices of INT4 experts that Marlin's tiles of 64 don't divide",
        why="the Marlin kernel works on tiles of 64: 2048 wide experts go into at most 32 slices",
        source="vllm 0.19.1, vllm/model_executor/layers/quantization/utils/marlin_utils.py",
        check=_int4_blocks,
    ),
    Rule(
        name="pipeline-layers",
        title="more pipeline stages than layers",
        why="a stage without a layer has nothing to do",
        source="vllm 0.19.1, vllm/distributed/utils.py: get_pp_indices",
        check=_layers,
    ),
    Rule(
        name="experts-of-dense-model",
        engines=VLLM,
        title="expert parallelism for a model without experts",
        why="the engine raises ValueError",
        source=_MODEL,
        check=_no_experts,
    ),
    Rule(
        name="decode-context-parallel",
        engines=VLLM,
        title="a decode context size that does not divide the tensor size",
        why="decode context ranks are the tensor group's own, divided",
        source="vllm 0.19.1, vllm/config/parallel.py: _validate_parallel_config",
        check=_context_parallel,
    ),
    Rule(
        name="dp-attention",
        engines=SGLANG,
        title="attention groups that don't divide the tensor ranks",
        why="with DP attention the data ranks share the tensor ranks",
        source="sglang 0.5.9, sglang/srt/server_args.py: _handle_data_parallelism",
        check=_dp_attention,
    ),
    Rule(
        name="expert-ranks",
        engines=SGLANG | TRTLLM,
        title="an expert size that does not divide the tensor size",
        why="experts are divided among the ranks of the tensor group",
        source="sglang 0.5.9, sglang/srt/distributed/parallel_state.py; tensorrt_llm 1.3.0rc3, tensorrt_llm/mapping.py",
        check=_ep_divides_tp,
    ),
)
