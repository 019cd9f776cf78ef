"""TensorRT-LLM and MPI: as many processes as ranks, room for them, and an environment that reaches them."""

from collections.abc import Iterator

from infra.rules.gpus import MOST_GPUS_A_NODE
from infra.rules.rule import TRTLLM, Breach, Rule
from infra.rules.subject import Subject

WRAPPER = "trtllm-llmapi-launch"
FORWARDED_BY_NAME = ("NCCL_", "UCX_", "GLOO_", "TRTLLM_", "TLLM_", "HF_", "TRANSFORMERS_", "CUDA_", "NVSHMEM_")
"""Beginnings of variables that the ranks of other hosts need as much as those of this one."""
_LAUNCH = "tensorrt_llm 1.3.0rc3, tensorrt_llm/llmapi/trtllm-llmapi-launch"
_MPI = "mpirun(1) of Open MPI"


def _ranks(s: Subject) -> int | None:
    contexts = s.count("cp_size", 1)
    config = s.config or {}
    if isinstance(config.get("context_parallel_size"), int):
        contexts = int(str(config["context_parallel_size"]))
    return None if s.world is None or contexts is None else s.world * contexts


def _processes(s: Subject) -> Iterator[Breach]:
    ranks = _ranks(s)
    if ranks and s.processes and WRAPPER in s.launched_by and ranks != s.processes:
        yield Breach(
            options=("tp_size", "pp_size"),
            found=f"{ranks} ranks (tensor x pipeline x context) in {s.processes} processes",
            wanted="as many processes as ranks",
            fix=f"start {ranks} processes (mpirun -np {ranks})",
        )


def _wrapper(s: Subject) -> Iterator[Breach]:
    if s.processes and s.processes > 1 and WRAPPER not in s.launched_by:
        yield Breach(
            found=f"{s.processes} processes that each start trtllm-serve",
            wanted=f"{WRAPPER} before it",
            fix=f"write {WRAPPER} trtllm-serve …",
        )


def _no_launcher(s: Subject) -> Iterator[Breach]:
    ranks, room = _ranks(s), s.gpus_per_node or MOST_GPUS_A_NODE
    around = {"mpirun", "srun", WRAPPER} & set(s.launched_by)
    if s.commanded and ranks and ranks > room and not around:
        yield Breach(
            options=("tp_size", "pp_size"),
            found=f"{ranks} ranks started on one node",
            wanted=f"mpirun or srun, and {WRAPPER}: a node has {room} GPUs",
            fix=f"mpirun -np {ranks} -H HOST1:8,HOST2:8 {WRAPPER} trtllm-serve …",
        )


def _slots(s: Subject) -> Iterator[Breach]:
    if s.slots is not None and s.processes and s.processes > s.slots:
        yield Breach(
            found=f"{s.processes} processes on hosts with {s.slots} slots",
            wanted=f"{s.processes} slots",
            fix="give each host its number of GPUs: -H HOST1:8,HOST2:8",
        )


def _forwarded(s: Subject) -> Iterator[Breach]:
    if s.forwarded is None or (s.nodes or 1) < 2:
        return
    missing = sorted(name for name in s.env if name.startswith(FORWARDED_BY_NAME) and name not in s.forwarded)
    if missing:
        yield Breach(
            found=f"{', '.join(missing)} set for mpirun alone",
            wanted="variables that reach the ranks of every host",
            fix="add " + " ".join(f"-x {name}" for name in missing),
        )


def _localhost(s: Subject) -> Iterator[Breach]:
    host = s.options.get("host", "localhost")
    open_to_others = s.several_nodes or s.published
    if s.commanded and open_to_others and host in ("localhost", "127.0.0.1", "::1"):
        yield Breach(
            options=("host",),
            found="a server that listens on localhost alone" + ("" if "host" in s.options else ", the default"),
            wanted="an address that clients and probes reach",
            fix="add --host 0.0.0.0",
            edit=s.edit("host", add=(("--host", "0.0.0.0"),)),  # noqa: S104 - what the person wants to be told
        )


RULES: tuple[Rule, ...] = (
    Rule(
        name="mpi-processes",
        engines=TRTLLM,
        title="a number of MPI processes that is not the number of ranks",
        why="each rank is one MPI process: with fewer the engine waits, with more some have nothing to do",
        source=_LAUNCH,
        check=_processes,
    ),
    Rule(
        name="mpi-wrapper",
        engines=TRTLLM,
        title="several processes that each start a server of their own",
        why=f"only {WRAPPER} makes one server of rank 0 and workers of the others",
        source=_LAUNCH,
        check=_wrapper,
    ),
    Rule(
        name="world-size",
        engines=TRTLLM,
        title="more ranks than a node has GPUs, without mpirun or srun",
        why="trtllm-serve by itself starts its ranks on its own node",
        source=_LAUNCH,
        check=_no_launcher,
    ),
    Rule(
        name="mpi-slots",
        engines=TRTLLM,
        title="more processes than the named hosts have slots",
        why="a host without a number has one slot; mpirun exits: There are not enough slots available",
        source=_MPI,
        check=_slots,
    ),
    Rule(
        name="mpi-environment",
        engines=TRTLLM,
        level="warning",
        title="variables that mpirun does not carry to other hosts",
        why="Open MPI forwards only its own variables and those of -x",
        source=_MPI,
        check=_forwarded,
    ),
    Rule(
        name="localhost",
        engines=TRTLLM,
        level="warning",
        title="a server of several nodes, or of a published port, that listens on localhost",
        why="trtllm-serve binds to localhost by default",
        source="tensorrt_llm 1.3.0rc3, tensorrt_llm/commands/serve.py: --host",
        check=_localhost,
    ),
)
