"""From a command that was read, and what stands around it, to the subject of the rules."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from infra.flags.check import Checked, Option
from infra.flags.words import UNKNOWN
from infra.rules import launch
from infra.rules.recognise import recognise
from infra.rules.subject import Parallelism, Subject, normal

POSITIONAL: Mapping[str, str] = {"vllm": "model", "trtllm": "model", "kt-kernel": "model"}
"""The name under which an engine's one positional argument is asked for."""
CONFIG_OPTIONS = ("config", "extra_llm_api_options")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a document says around one command; None: it says nothing of it."""

    engine: str
    release: str
    place: str
    """The command's own, "line 3"."""
    program: str = ""
    """What is started: "vllm serve", "sglang.launch_server"; "" where that does not matter."""
    prefix: tuple[str, ...] = ()
    """All words before the command's own name: launchers with their options, as `srun -N 2` or `mpirun -np 16 -H …`."""
    directives: Mapping[str, str] = field(default_factory=dict)
    """Options of the script's `#SBATCH` lines, long names without dashes: {"nodes": "2"}."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Known values of variables that are exported or stand before the command."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """What the document installs (`distributions.installed`): "==0.19.1", "<5.6", "" by distribution name."""
    files: Mapping[str, object] = field(default_factory=dict)
    """YAML that the document writes, parsed, by the path as it is written there."""
    file_places: Mapping[str, str] = field(default_factory=dict)
    """Where each begins: "line 5"."""
    file_texts: Mapping[str, str] = field(default_factory=dict)
    published: bool = False
    """Whether a manifest opens its port to others."""
    gpus_per_node: int | None = None
    """GPUs of the machine or the pod."""
    gpu: str | None = None
    """Its name where the document gives it."""
    about_others: bool = False
    """Whether the document is about CPUs or other makers' accelerators."""
    gpu_memory_gib: float | None = None
    cpu_flags: frozenset[str] | None = None
    cores: int | None = None
    numa_nodes: int | None = None
    host_memory_gib: float | None = None
    ray_started: bool | None = None
    """Whether `ray start` is among the document's commands or words."""


def of_command(checked: Checked, context: Context) -> Subject:
    """The subject that a written command is."""
    options: dict[str, object] = {}
    places: dict[str, str] = {}
    tokens: dict[str, str] = {}
    texts: dict[str, str] = {}
    for option in checked.options:
        name = option.name.lstrip("-")
        if not name:
            continue
        options[name] = option.value
        places[name] = _place(option, context.place)
        tokens[name] = option.written
        texts[name] = " ".join(token.text for token in option.values)
    name = POSITIONAL.get(context.engine, "")
    if name and checked.positionals:
        token = checked.positionals[0]
        options[name] = token.text if token.known else UNKNOWN
        places[name], tokens[name], texts[name] = token.where, token.text, token.text
    around = launch.read(context.prefix, context.directives)
    path = next((texts[name] for name in CONFIG_OPTIONS if name in texts), "")
    config = _config(path, context)
    return with_parallelism(
        Subject(
            engine=context.engine,
            release=context.release,
            options=options,
            program=context.program,
            place=context.place,
            places=places,
            tokens=tokens,
            texts=texts,
            unknown=frozenset(option.written.partition("=")[0] for option in checked.options if not option.name),
            env=context.env,
            model=recognise(texts.get("model") or texts.get("model-path") or ""),
            draft=recognise(_draft(options)),
            nodes=around.nodes,
            gpus_per_node=_gpus(around, context),
            gpu=context.gpu or around.gpu,
            about_others=context.about_others,
            gpu_memory_gib=context.gpu_memory_gib,
            cpu_flags=context.cpu_flags,
            cores=context.cores,
            numa_nodes=context.numa_nodes,
            host_memory_gib=context.host_memory_gib or around.memory_gib,
            launcher=around.programs[0] if around.programs else None,
            launched_by=around.programs,
            processes=around.processes,
            slots=around.slots,
            forwarded=around.forwarded,
            published=around.published or context.published,
            packages=context.packages,
            config=config,
            config_place=context.file_places.get(path, context.place) if path in context.files else "",
            config_text=context.file_texts.get(path, ""),
            ray_started=context.ray_started,
        )
    )


def with_parallelism(subject: Subject) -> Subject:
    """The subject with the parallelism that its options and the engine's defaults mean; None where it is not known."""
    subject = normal(subject)
    names = PARALLEL_OPTIONS.get(subject.engine)
    if not names:
        return subject
    sizes = [_size(subject, name) for name in names]
    expert = _expert(subject)
    if any(size is None or size < 1 for size in sizes) or expert is None:
        return subject
    tensor, pipeline, data = (size or 1 for size in sizes)
    return replace(subject, parallelism=Parallelism(tensor=tensor, pipeline=pipeline, data=data, expert=expert))


PARALLEL_OPTIONS: Mapping[str, tuple[str, str, str]] = {
    "vllm": ("tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size"),
    "sglang": ("tp-size", "pp-size", "dp-size"),
    "sglang-kt": ("tp-size", "pp-size", "dp-size"),
    "trtllm": ("tp_size", "pp_size", ""),
}
TRTLLM_KEYS = {
    "tp_size": "tensor_parallel_size",
    "pp_size": "pipeline_parallel_size",
    "ep_size": "moe_expert_parallel_size",
}
"""The YAML's keys, which win over the command line."""


def _size(subject: Subject, option: str) -> int | None:
    if not option:
        return 1
    if subject.engine == "trtllm" and subject.config is not None:
        key = TRTLLM_KEYS[option]
        value = subject.config.get(key)
        if value is not None:
            return value if isinstance(value, int) else None
    unread = subject.config is None and "config" in subject.options
    if subject.engine == "trtllm" and unread and option not in subject.options:
        return None
    if option == "dp-size" and "attn-dp-size" in subject.options:
        return subject.number("attn-dp-size")
    return subject.count(option, 1)


def _expert(subject: Subject) -> bool | None:
    if subject.engine == "vllm":
        value = subject.options.get("enable-expert-parallel", False)
        return value if isinstance(value, bool) else None
    if subject.engine == "trtllm":
        size = _size(subject, "ep_size")
        return None if size is None else size > 1
    size = subject.count("ep-size", 1)
    backend = subject.options.get("moe-a2a-backend", "none")
    if size is None or not isinstance(backend, str):
        return None
    return size > 1 or backend != "none" or subject.given("enable-deepep-moe") or subject.given("enable-ep-moe")


def _place(option: Option, place: str) -> str:
    lines = [token.where for token in option.values if token.line]
    return lines[0] if lines else place


def _draft(options: Mapping[str, object]) -> str:
    config = options.get("speculative-config")
    model = config.get("model") if isinstance(config, Mapping) else options.get("speculative-draft-model-path")
    return model if isinstance(model, str) else ""


def _gpus(around: launch.Launch, context: Context) -> int | None:
    visible = context.env.get("CUDA_VISIBLE_DEVICES", "")
    if visible and "$" not in visible:
        return len([device for device in visible.split(",") if device.strip()])
    return around.gpus_per_node or context.gpus_per_node


def _config(path: str, context: Context) -> Mapping[str, object] | None:
    found = context.files.get(path) if context.engine == "trtllm" else None
    return found if isinstance(found, Mapping) else None
