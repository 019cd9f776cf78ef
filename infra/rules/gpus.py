"""What is known of GPUs by their names, and how many of them a command takes on one node."""

import re

from infra.rules.subject import Subject

MOST_GPUS_A_NODE = 8
"""Where nothing is said: no HGX or DGX node of the GPUs that these engines are built for has more."""
_HOPPER = re.compile(r"(?<![a-z0-9])g?h(?:100|200|800|20)(?![0-9])", re.IGNORECASE)
_BLACKWELL = re.compile(r"(?<![a-z0-9])g?b(?:100|200|300)(?![0-9])|rtx pro 6000|rtx ?50[0-9]0", re.IGNORECASE)
_OLDER = re.compile(
    r"(?<![a-z0-9])(?:a100|a800|a10|a6000|a40|l40s?|l4|v100|t4)(?![0-9a-z])|rtx ?[234]0[0-9]0", re.IGNORECASE
)
_OTHERS = re.compile(
    r"(?<![A-Za-z0-9])(?:XPU|HPU|TPU|NPU|Gaudi|Ascend|Trainium|ROCm|MI[23]\d\dX?)(?![A-Za-z0-9])|VLLM_CPU_"
    r"|VLLM_TARGET_DEVICE=(?!cuda)"
)
_KINDS = (("hopper", _HOPPER), ("blackwell", _BLACKWELL), ("older", _OLDER))


def generation(subject: Subject) -> str:
    """The GPU's generation: hopper, blackwell or older; "" where it is not known."""
    return next((kind for kind, names in _KINDS if names.search(subject.gpu or "")), "")


def named_in(text: str) -> str | None:
    """The GPU that a document is about: the first that it names, where all that it names are of one generation."""
    first = [found[0] for _, names in _KINDS if (found := names.search(text))]
    return first[0].upper() if len(first) == 1 else None


def about_others(text: str) -> bool:
    """Whether a document is about CPUs or accelerators of other makers, and names no GPU of the kinds known here."""
    return bool(_OTHERS.search(text)) and not any(names.search(text) for _, names in _KINDS)


def other_accelerator(subject: Subject) -> bool:
    """Whether it is no GPU that the command runs on: a node may have any number of others."""
    device = subject.text("device")
    others = ("ascend", "npu", "hpu", "tpu", "xpu")
    named = any(isinstance(value, str) and value.lower() in others for value in subject.options.values())
    return device not in (None, "auto", "cuda") or named or any(name.startswith("ASCEND_") for name in subject.env)


def capacity(subject: Subject) -> int:
    """The GPUs of one node, or the most that any has."""
    return subject.gpus_per_node or MOST_GPUS_A_NODE


def capacity_text(subject: Subject) -> str:
    """The capacity as a problem names it."""
    if subject.gpus_per_node:
        return f"the {subject.gpus_per_node} of one node"
    return f"{MOST_GPUS_A_NODE}, more than which no node has"


def uses_ray(subject: Subject) -> bool:
    """Whether vLLM's ranks are placed by Ray."""
    backends = (subject.options.get("distributed-executor-backend"), subject.options.get("data-parallel-backend"))
    return "ray" in backends


def vllm_gpus_a_node(subject: Subject) -> int | None:
    """The GPUs that one `vllm serve` process takes on its node; None where Ray or the run decides."""
    p, world = subject.parallelism, subject.world
    nodes, local = subject.count("nnodes", 1), subject.count("data-parallel-size-local", 0)
    placed_by_itself = not uses_ray(subject) and not other_accelerator(subject)
    if p is None or world is None or nodes is None or local is None or not placed_by_itself:
        return None
    if "distributed-executor-backend" in subject.options and subject.text("distributed-executor-backend") != "mp":
        return None
    if nodes > 1:
        return world // nodes
    one = world // p.data
    if "data-parallel-size-local" in subject.options:
        return one * local
    if "data-parallel-rank" in subject.options or subject.given("data-parallel-external-lb"):
        return one
    return one * p.data
