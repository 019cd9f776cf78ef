"""Ranks, GPUs and nodes: as many of one as the other offers."""

from collections.abc import Iterator

from infra.flags.finding import Edit
from infra.rules.gpus import capacity, capacity_text, other_accelerator, uses_ray, vllm_gpus_a_node
from infra.rules.parallel import DATA, PIPELINE, TENSOR
from infra.rules.rule import SGLANG, VLLM, Breach, Rule
from infra.rules.subject import Subject

_PARALLEL = "vllm 0.19.1, vllm/config/parallel.py"
_ARGS = "vllm 0.19.1, vllm/engine/arg_utils.py: create_engine_config"
_SGLANG = "sglang 0.5.9, sglang/srt/server_args.py: check_server_args"


def _vllm_world(s: Subject) -> Iterator[Breach]:
    needs, nodes = vllm_gpus_a_node(s), s.count("nnodes", 1)
    if not s.commanded or needs is None or nodes is None or needs <= capacity(s):
        return
    if s.about_others and s.gpus_per_node is None and s.text("distributed-executor-backend") == "mp":
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
            fix = f"add --distributed-executor-backend ray, with ray installed; or {fix.partition(';')[0]}"
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
    if not s.commanded or other_accelerator(s) or not nodes or world is None or p is None:
        return
    if p.tensor * p.pipeline % nodes:
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
    if nodes and nodes > 0 and rank is not None and not 0 <= rank < nodes:
        yield Breach(
            options=("node-rank",),
            found=f"node rank {rank} of {nodes} nodes",
            wanted=f"0 to {nodes - 1}" if nodes > 1 else "a number of nodes above 1 (--nnodes)",
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


def _multi_node_data(s: Subject) -> Iterator[Breach]:
    p, nodes = s.parallelism, s.number("nnodes")
    shared = s.given("enable-dp-attention") or "attn-dp-size" in s.options
    if p and p.data > 1 and nodes and nodes > 1 and not shared:
        yield Breach(
            options=("dp-size",),
            found=f"{p.data} replicas over {nodes} nodes",
            wanted="data parallelism inside attention (--enable-dp-attention), or one server a node behind a router",
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
        name="data-ranks",
        engines=VLLM,
        title="data ranks beyond the number of them",
        why="ranks count from 0 to --data-parallel-size - 1, over all nodes",
        source=f"{_PARALLEL}: _validate_parallel_config",
        check=_data_ranks,
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
        name="ray-with-nnodes",
        engines=VLLM,
        since="0.11.2",
        title="--nnodes together with Ray",
        why="the engine raises ValueError: nnodes is for its own processes",
        source=f"{_PARALLEL}: __post_init__",
        check=_ray_and_nodes,
    ),
)
