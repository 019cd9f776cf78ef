"""Arithmetic of parallelism: what must divide what, and how many GPUs and nodes there must be."""

from collections.abc import Iterator

from infra.flags.finding import Edit
from infra.rules.gpus import capacity, capacity_text, uses_ray, vllm_gpus_a_node
from infra.rules.rule import SGLANG, TRTLLM, VLLM, Breach, Rule
from infra.rules.subject import Subject

TENSOR = ("tensor-parallel-size", "tp-size", "tp_size")
PIPELINE = ("pipeline-parallel-size", "pp-size", "pp_size")
DATA = ("data-parallel-size", "attn-dp-size", "dp-size")
_PARALLEL = "vllm 0.19.1, vllm/config/parallel.py"
_MODEL = "vllm 0.19.1, vllm/config/model.py: verify_with_parallel_config"
_ARGS = "vllm 0.19.1, vllm/engine/arg_utils.py: create_engine_config"
_SGLANG = "sglang 0.5.9, sglang/srt/server_args.py: check_server_args"


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


def _vllm_world(s: Subject) -> Iterator[Breach]:
    needs, nodes = vllm_gpus_a_node(s), s.count("nnodes", 1)
    if not s.commanded or needs is None or nodes is None or needs <= capacity(s):
        return
    p = s.parallelism
    options: tuple[str, ...] = (*TENSOR, *PIPELINE)
    edit: Edit | None = None
    if p and s.world and s.world // p.data <= capacity(s):
        local = capacity(s) // (s.world // p.data)
        if "data-parallel-size-local" not in s.options:
            fix = f"give each node its share: --data-parallel-size-local {local} --data-parallel-address IP"
        else:
            fix = f"--data-parallel-size-local {local}"
        options = ("data-parallel-size-local", "data-parallel-size")
    else:
        wanted_nodes = -(-needs * nodes // capacity(s))
        words = (("--nnodes", str(wanted_nodes)), ("--node-rank", "$NODE_RANK"), ("--master-addr", "$MASTER_ADDR"))
        missing = tuple(group for group in words if group[0] == "--nnodes" or group[0][2:] not in s.options)
        fix = (
            f"start it on {wanted_nodes} nodes, each with --nnodes {wanted_nodes} --node-rank N --master-addr IP (and "
            "--headless on all but the first); or --distributed-executor-backend ray, with ray installed"
        )
        edit = s.edit("nnodes", add=missing)
        if s.ray_started:
            edit = s.edit("nnodes", add=(("--distributed-executor-backend", "ray"),))
    yield Breach(options=options, found=f"{needs} GPUs wanted on one node", wanted=capacity_text(s), fix=fix, edit=edit)


def _vllm_nodes_divide(s: Subject) -> Iterator[Breach]:
    nodes, world = s.number("nnodes"), s.world
    if nodes and world and world % nodes:
        yield Breach(
            options=("nnodes",),
            found=f"{world} ranks over {nodes} nodes",
            wanted=f"a number of nodes that divides {world}",
        )


def _job_too_small(s: Subject) -> Iterator[Breach]:
    """More GPUs than the job that the command stands in was given."""
    world = s.world
    if not s.commanded or s.engine == "trtllm" or world is None or not s.nodes or not s.gpus_per_node:
        return
    local = s.engine == "vllm" and ("data-parallel-size-local" in s.options or "data-parallel-rank" in s.options)
    if world > s.nodes * s.gpus_per_node and not local and s.nodes > 1:
        yield Breach(
            options=(*TENSOR, *DATA),
            found=f"{world} ranks",
            wanted=f"at most the {s.nodes * s.gpus_per_node} GPUs of the job ({s.nodes} nodes of {s.gpus_per_node})",
        )


def _sglang_world(s: Subject) -> Iterator[Breach]:
    nodes, world, p = s.count("nnodes", 1), s.world, s.parallelism
    if not s.commanded or not nodes or world is None or p is None or p.tensor * p.pipeline % nodes:
        return
    if world / nodes > capacity(s):
        enough = -(-world // capacity(s))
        spread = f"--nnodes {enough} --node-rank N --dist-init-addr IP:PORT on each of {enough} nodes"
        yield Breach(
            options=("tp-size", "dp-size", "pp-size", "nnodes"),
            found=f"{world // nodes} GPUs wanted on one node",
            wanted=capacity_text(s),
            fix=spread,
            edit=s.edit(
                "nnodes",
                add=(
                    ("--nnodes", str(enough)),
                    *([] if "node-rank" in s.options else [("--node-rank", "$NODE_RANK")]),
                    *([] if "dist-init-addr" in s.options else [("--dist-init-addr", "$MASTER_ADDR:5000")]),
                ),
            ),
        )


def _sglang_nodes_divide(s: Subject) -> Iterator[Breach]:
    nodes, p = s.number("nnodes"), s.parallelism
    if nodes and p and p.tensor * p.pipeline % nodes:
        yield Breach(
            options=("nnodes", "tp-size"),
            found=f"{p.tensor * p.pipeline} ranks over {nodes} nodes",
            wanted=f"a number of nodes that divides {p.tensor * p.pipeline}",
        )


def _node_rank(s: Subject) -> Iterator[Breach]:
    nodes, rank = s.count("nnodes", 1), s.number("node-rank")
    if nodes and rank is not None and not 0 <= rank < nodes:
        yield Breach(
            options=("node-rank",),
            found=f"node rank {rank} of {nodes} nodes",
            wanted=f"0 to {nodes - 1}" if nodes > 1 else "a number of nodes above 1 (--nnodes)",
        )


def _context_parallel(s: Subject) -> Iterator[Breach]:
    p, size = s.parallelism, s.number("decode-context-parallel-size")
    if p and size is not None and (size < 1 or p.tensor % size):
        yield Breach(
            options=("decode-context-parallel-size",),
            found=f"{size} for a tensor size of {p.tensor}",
            wanted=f"a divisor of {p.tensor}",
        )


def _data_ranks(s: Subject) -> Iterator[Breach]:
    size, local = s.count("data-parallel-size", 1), s.number("data-parallel-size-local")
    start, rank = s.count("data-parallel-start-rank", 0), s.number("data-parallel-rank")
    if size is None:
        return
    if local is not None and local > size:
        yield Breach(
            options=("data-parallel-size-local",),
            found=f"{local} local data ranks of {size}",
            wanted=f"at most --data-parallel-size, {size}",
        )
    elif local is not None and start is not None and start + local > size:
        yield Breach(
            options=("data-parallel-start-rank",),
            found=f"data ranks {start} to {start + local - 1} of {size}",
            wanted=f"a first rank of at most {size - local}",
        )
    if rank is not None and not 0 <= rank < size:
        yield Breach(options=("data-parallel-rank",), found=f"data rank {rank} of {size}", wanted=f"0 to {size - 1}")


def _dp_attention(s: Subject) -> Iterator[Breach]:
    p = s.parallelism
    shared = s.given("enable-dp-attention") or "attn-dp-size" in s.options
    if p and shared and p.data > 1 and p.tensor % p.data:
        yield Breach(
            options=("attn-dp-size", "dp-size"),
            found=f"{p.data} attention groups over {p.tensor} tensor ranks",
            wanted=f"a divisor of {p.tensor}",
        )


def _multi_node_data(s: Subject) -> Iterator[Breach]:
    p, nodes = s.parallelism, s.number("nnodes")
    shared = s.given("enable-dp-attention") or "attn-dp-size" in s.options
    if p and p.data > 1 and nodes and nodes > 1 and not shared:
        yield Breach(
            options=("dp-size",),
            found=f"{p.data} replicas over {nodes} nodes",
            wanted="data parallelism inside attention (--enable-dp-attention), or one server a node behind a router",
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


def _ray_and_nodes(s: Subject) -> Iterator[Breach]:
    if uses_ray(s) and (s.number("nnodes") or 1) > 1:
        yield Breach(
            options=("nnodes",),
            found="--nnodes together with Ray",
            wanted="one of them: Ray finds the nodes by itself",
            fix="leave out --nnodes, --node-rank and --master-addr, or the Ray backend",
            edit=s.edit("nnodes", "node-rank", "master-addr", "master-port"),
        )


RULES: tuple[Rule, ...] = (
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
        name="world-size",
        engines=VLLM,
        since="0.11.2",
        title="more ranks than one node has GPUs, without --nnodes and without Ray",
        why="since 0.11.2 vLLM does not turn to Ray by itself: it exits with `World size is larger than the number of "
        "available GPUs`",
        source=f"{_PARALLEL}: __post_init__",
        check=_vllm_world,
    ),
    Rule(
        name="world-size",
        engines=SGLANG,
        title="more ranks on a node than it has GPUs",
        why="SGLang starts tensor x pipeline / nodes ranks on each node",
        source="sglang 0.5.9, sglang/srt/entrypoints/engine.py: _launch_scheduler_processes",
        check=_sglang_world,
    ),
    Rule(
        name="job-size",
        engines=VLLM | SGLANG,
        title="more ranks than the job has GPUs",
        why="the job's nodes and GPUs per node are all that it gets",
        source="sbatch(1): --nodes, --gpus-per-node",
        check=_job_too_small,
    ),
    Rule(
        name="nodes-divide-world",
        engines=VLLM,
        title="ranks that don't divide evenly among the nodes",
        why="each node starts the same number",
        source=_ARGS,
        check=_vllm_nodes_divide,
    ),
    Rule(
        name="nodes-divide-world",
        engines=SGLANG,
        title="ranks that don't divide evenly among the nodes",
        why="SGLang asserts that tensor x pipeline is divisible by the number of nodes",
        source=_SGLANG,
        check=_sglang_nodes_divide,
    ),
    Rule(
        name="node-rank",
        engines=VLLM | SGLANG,
        title="a node's rank that is not below the number of nodes",
        why="ranks count from 0",
        source=_ARGS,
        check=_node_rank,
    ),
    Rule(
        name="decode-context-parallel",
        engines=VLLM,
        title="a decode context size that does not divide the tensor size",
        why="decode context ranks are the tensor group's own, divided",
        source=f"{_PARALLEL}: _validate_parallel_config",
        check=_context_parallel,
    ),
    Rule(
        name="data-ranks",
        engines=VLLM,
        title="data ranks beyond the number of them",
        why="ranks count from 0 to --data-parallel-size - 1, over all nodes",
        source=f"{_PARALLEL}: _validate_parallel_config",
        check=_data_ranks,
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
        name="replicas-over-nodes",
        engines=SGLANG,
        title="plain data parallelism over several nodes",
        why="SGLang asserts that data parallelism over nodes is DP attention",
        source=_SGLANG,
        check=_multi_node_data,
    ),
    Rule(
        name="expert-ranks",
        engines=SGLANG | TRTLLM,
        title="an expert size that does not divide the tensor size",
        why="experts are divided among the ranks of the tensor group",
        source="sglang 0.5.9, sglang/srt/distributed/parallel_state.py; tensorrt_llm 1.3.0rc3, tensorrt_llm/mapping.py",
        check=_ep_divides_tp,
    ),
    Rule(
        name="ray-with-nnodes",
        engines=VLLM,
        since="0.11.2",
        title="--nnodes together with Ray",
        why="the engine raises ValueError: nnodes is for its own processes",
        source=f"{_PARALLEL}: __post_init__",
        check=_ray_and_nodes,
    ),
)
