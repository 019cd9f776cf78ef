"""TensorRT-LLM's YAML file, held against the classes of its release."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence

from infra.flags.config_file import MOVED
from infra.flags.near import nearest_value
from infra.rules.rule import TRTLLM, Breach, Rule
from infra.rules.subject import Subject

GONE = (
    "cuda_graph_config.padding_enabled",
    "use_cuda_graph",
    "cuda_graph_padding_enabled",
    "cuda_graph_batch_sizes",
    "cuda_graph_max_batch_size",
)
"""Those of the keys that moved which no release has since."""
DECODING = (
    "AUTO",
    "DraftTarget",
    "Eagle",
    "Eagle3",
    "Lookahead",
    "MTP",
    "Medusa",
    "NGram",
    "SaveState",
    "UserProvided",
)
"""The drafters by which `decoding_type` names a class."""
_SLIP = 0.9
"""How alike a misspelt key is: speculative_model_dir, an alias, is less like speculative_model."""
_LATE = re.compile(r"\$|`|\{\{|\{%|<[A-Za-z]")
"""What only the run or a template decides."""


def _place(s: Subject, path: Sequence[str]) -> str:
    """The line of a key in the file's text, where that is known; else where the file begins."""
    first = re.fullmatch(r"line ([0-9]+)", s.config_place)
    if not first or not path:
        return ".".join((s.config_place, *path)) if s.config_place.startswith("$") else s.config_place
    key = re.compile(rf"[ \t]*(?:- )?[\"']?{re.escape(path[-1])}[\"']?[ \t]*:")
    lines = (n for n, line in enumerate(s.config_text.split("\n")) if key.match(line))
    return f"line {int(first[1]) + next(lines, 0)}"


def _keys(s: Subject) -> Iterator[Breach]:
    if s.config is None:
        return
    from infra.flags import table as tables  # noqa: PLC0415 - only where there is a file to hold
    from infra.flags.shapes import Reader  # noqa: PLC0415

    if s.release not in tables.releases(s.engine):
        return
    table = tables.load(s.engine, s.release)
    if not table.root:
        yield from _old_keys(s, s.config)
        return
    for fault in Reader(classes=table.classes).faults({"class": table.root}, s.config):
        better = MOVED.get(fault.where) or fault.better
        yield Breach(
            place=_place(s, fault.path),
            word=fault.path[-1] if fault.path else None,
            found=f"{fault.where}: {fault.found}" if fault.found != fault.where else fault.where,
            wanted=better or fault.wanted,
            why=fault.why,
            fix=f"write {better}" if better else None,
        )


def _old_keys(s: Subject, config: Mapping[str, object]) -> Iterator[Breach]:
    """Keys that are gone for good, for a release whose classes are not known."""
    for path in GONE:
        value: object = config
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            yield Breach(
                place=_place(s, path.split(".")),
                word=path.rpartition(".")[2],
                found=path,
                wanted=MOVED[path],
                fix=f"write {MOVED[path]}",
            )


def _unreadable(s: Subject) -> Iterator[Breach]:
    if s.config is not None or not s.config_text or _LATE.search(s.config_text):
        return
    import yaml  # noqa: PLC0415 - only where there is a file that could not be read

    try:
        yaml.safe_load(s.config_text)
    except yaml.MarkedYAMLError as error:
        first, mark = re.fullmatch(r"line ([0-9]+)", s.config_place), error.problem_mark
        place = f"line {int(first[1]) + mark.line}" if first and mark else s.config_place
        yield Breach(place=place, found=error.problem or "YAML that does not parse", wanted="a YAML file")
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError):
        return


def _decoding(s: Subject) -> Iterator[Breach]:
    drafts = (s.config or {}).get("speculative_config")
    kind = drafts.get("decoding_type") if isinstance(drafts, Mapping) else None
    if not isinstance(drafts, Mapping) or not isinstance(kind, str):
        return
    near = nearest_value(kind, DECODING)
    if kind in DECODING:
        yield from _draft_keys(s, f"{kind}DecodingConfig", drafts)
    elif near:
        yield Breach(
            place=_place(s, ("speculative_config", "decoding_type")),
            word="decoding_type",
            found=f"speculative_config.decoding_type: {kind!r}",
            wanted=f"one of {', '.join(DECODING)}",
            fix=f"write {near}",
        )


def _draft_keys(s: Subject, name: str, drafts: Mapping[str, object]) -> Iterator[Breach]:
    """Keys that are nearly a drafter's; of others the table may lack an alias."""
    from infra.flags import table as tables  # noqa: PLC0415 - only where there is a file to hold

    nested = tables.load(s.engine, s.release).classes.get(name) if s.release in tables.releases(s.engine) else None
    if nested is None:
        return
    for key in drafts:
        close = difflib.get_close_matches(key, nested.keys, n=1, cutoff=_SLIP) if key not in nested.keys else []
        if close:
            yield Breach(
                place=_place(s, ("speculative_config", key)),
                word=key,
                found=f"speculative_config.{key}",
                wanted=f"a key of {name}",
                why="the class forbids other keys",
                fix=f"did you mean {close[0]}?",
            )


def _twice(s: Subject) -> Iterator[Breach]:
    pairs = (("tp_size", "tensor_parallel_size"), ("pp_size", "pipeline_parallel_size"))
    for option, name in (*pairs, ("ep_size", "moe_expert_parallel_size")):
        here, there = s.number(option), (s.config or {}).get(name)
        if here is not None and isinstance(there, int) and here != there:
            yield Breach(
                options=(option,),
                found=f"{here} on the command line, {there} in the file ({name})",
                wanted="one of them",
                fix=f"leave out --{option}",
                edit=s.edit(option),
            )


def _share(s: Subject) -> Iterator[Breach]:
    option = "free_gpu_memory_fraction"
    share = s.real(option)
    if share is not None and not 0 < share <= 1:
        yield Breach(options=(option,), found=f"{share:g}", wanted="a share above 0 and at most 1", fix="write 0.9")


RULES: tuple[Rule, ...] = (
    Rule(
        name="trtllm-yaml",
        engines=TRTLLM,
        title="a key or a value of the YAML file that the release does not take",
        why="its classes forbid keys that they don't know; padding_enabled became enable_padding in July 2025",
        source="tensorrt_llm 1.3.0rc3, tensorrt_llm/llmapi/llm_args.py: StrictBaseModel; NVIDIA/TensorRT-LLM#6003",
        check=_keys,
    ),
    Rule(
        name="trtllm-yaml-syntax",
        engines=TRTLLM,
        title="a YAML file that does not parse",
        why="trtllm-serve reads it before anything else",
        source="tensorrt_llm 1.3.0rc3, tensorrt_llm/commands/serve.py: yaml.safe_load",
        check=_unreadable,
    ),
    Rule(
        name="trtllm-decoding-type",
        engines=TRTLLM,
        title="a drafter, or a key of its settings, whose name is nearly one",
        why="ValueError: Invalid decoding type; names are compared letter by letter",
        source="tensorrt_llm 1.3.0rc3, tensorrt_llm/llmapi/llm_args.py: DecodingBaseConfig.from_dict",
        check=_decoding,
    ),
    Rule(
        name="memory-share",
        engines=TRTLLM,
        title="a share of free GPU memory that is none",
        why="it is a fraction of what is free after the weights",
        source="tensorrt_llm 1.3.0rc3, tensorrt_llm/llmapi/llm_args.py: KvCacheConfig",
        check=_share,
    ),
    Rule(
        name="trtllm-said-twice",
        engines=TRTLLM,
        level="warning",
        title="a size that the command line and the YAML file give differently",
        why="the file wins",
        source="tensorrt_llm 1.3.0rc3, tensorrt_llm/commands/serve.py: update_llm_args_with_extra_dict",
        check=_twice,
    ),
)
