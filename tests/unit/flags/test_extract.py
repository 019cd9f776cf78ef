"""The static reading of packages: small sources in the style of each engine, and what must come out of them."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from infra.flags.extract import clicks, sglang, vllm
from infra.flags.extract.given import converted, shape_of
from infra.flags.extract.program import Program
from infra.flags.extract.recipes import RECIPES, recipe, table, written
from infra.flags.extract.run import Interpreter
from infra.flags.table import from_json

ARG_UTILS = """
import argparse
import json
from typing import Literal
from demo_unknown import anything
from vllm.config import CacheConfig, ModelConfig, get_attr_docs
from vllm.config.parallel import ParallelConfig
from vllm.config.vllm import VllmConfig

def parse_type(return_type):
    def _parse(value):
        return return_type(value)
    return _parse

def optional_type(return_type):
    def _optional(value):
        return None if value == "None" else parse_type(return_type)(value)
    return _optional

def literal_to_kwargs(type_hints):
    kwarg = "metavar" if contains_type(type_hints, str) else "choices"
    return {kwarg: sorted(options)}

def _compute_kwargs(cls):
    for field in fields(cls):
        if contains_type(type_hints, set):
            pass
        elif contains_type(type_hints, int):
            if name == "max_model_len":
                kwargs[name]["type"] = human_readable_int_or_auto
            elif name in ("max_num_batched_tokens", "kv_cache_memory_bytes"):
                kwargs[name]["type"] = human_readable_int

def get_kwargs(cls):
    return _compute_kwargs(cls)

class EngineArgs:
    @staticmethod
    def add_cli_args(parser):
        model_kwargs = get_kwargs(ModelConfig)
        group = parser.add_argument_group(title="ModelConfig")
        if not ("serve" in sys.argv[1:]):
            group.add_argument("--model", **model_kwargs["model"])
        group.add_argument("--max-model-len", **model_kwargs["max_model_len"])
        group.add_argument("--dtype", **model_kwargs["dtype"])
        group.add_argument("--tokenizer-mode", **model_kwargs["tokenizer_mode"])
        group.add_argument("--quantization", "-q", **model_kwargs["quantization"])
        group.add_argument("--hf-overrides", **model_kwargs["hf_overrides"])
        group.add_argument("--enforce-eager", **model_kwargs["enforce_eager"])
        cache_kwargs = get_kwargs(CacheConfig)
        group.add_argument("--gpu-memory-utilization", **cache_kwargs["gpu_memory_utilization"])
        group.add_argument("--enable-prefix-caching", **{**cache_kwargs["enable_prefix_caching"], "default": None})
        parallel_kwargs = get_kwargs(ParallelConfig)
        parallel_kwargs["backend"]["choices"].remove("secret")
        group.add_argument("--backend", **parallel_kwargs["backend"])
        group.add_argument("--devices", **parallel_kwargs["devices"])
        group.add_argument("--eplb-config", **parallel_kwargs["eplb_config"])
        vllm_kwargs = get_kwargs(VllmConfig)
        vllm_kwargs["speculative_config"]["type"] = optional_type(json.loads)
        group.add_argument("--speculative-config", "-sc", **vllm_kwargs["speculative_config"])
        lowered = vllm_kwargs["moe"]
        lowered["type"] = lambda s: s.lower().replace("-", "_")
        group.add_argument("--moe", **lowered)
        group.add_argument("--old", action="store_true", deprecated=True)
        return parser
"""

VLLM: Mapping[str, str] = {
    "vllm/engine/arg_utils.py": ARG_UTILS,
    "vllm/config/__init__.py": "from vllm.config.model import ModelConfig\nfrom vllm.config.cache import CacheConfig\n",
    "vllm/config/utils.py": "def config(cls=None):\n    merged = ConfigDict(extra='forbid')\n    return cls\n",
    "vllm/config/model.py": '''
from typing import TYPE_CHECKING, Any, Literal
from pydantic import Field, SkipValidation
from vllm.config.utils import config

if TYPE_CHECKING:
    from vllm.quantization import QuantizationMethods
else:
    QuantizationMethods = Any

ModelDType = Literal["auto", "half", "bfloat16"]

@config
class ModelConfig:
    model: str = "Qwen/Qwen3-0.6B"
    max_model_len: int = Field(default=None, ge=-1)
    dtype: ModelDType | Any = "auto"
    tokenizer_mode: Literal["auto", "hf"] | str = "auto"
    quantization: SkipValidation[QuantizationMethods | None] = None
    hf_overrides: dict[str, Any] | Callable = Field(default_factory=dict)
    enforce_eager: bool = False
''',
    "vllm/config/cache.py": '''
from pydantic import Field
from vllm.config.utils import config

@config
class CacheConfig:
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    enable_prefix_caching: bool = True
''',
    "vllm/config/parallel.py": '''
from typing import Literal
from pydantic import Field, field_validator
from vllm.config.utils import config

@config
class EPLBConfig:
    window_size: int = 1000
    policy: Literal["default", "greedy"] = "default"
    free: int = 0

    @field_validator("free", mode="before")
    @classmethod
    def _anything(cls, value):
        return 0

@config
class ParallelConfig:
    backend: Literal["a", "b", "secret"] | None = "a"
    devices: list[int] | None = None
    eplb_config: EPLBConfig = Field(default_factory=EPLBConfig)
''',
    "vllm/config/vllm.py": '''
from vllm.config.speculative import SpeculativeConfig
from vllm.config.utils import config
from typing import Literal

@config
class VllmConfig:
    speculative_config: SpeculativeConfig | None = None
    moe: Literal["auto", "flashinfer_trtllm"] = "auto"
''',
    "vllm/config/speculative.py": '''
from vllm.config.utils import config

@config
class SpeculativeConfig:
    method: str | None = None
    num_speculative_tokens: int | None = None
''',
    "vllm/entrypoints/openai/cli_args.py": '''
from vllm.engine.arg_utils import EngineArgs, get_kwargs

class BaseArgs:
    api_key: list[str] | None = None

    @classmethod
    def _customize(cls, kwargs):
        kwargs["middleware"]["action"] = "append"
        del kwargs["middleware"]["nargs"]
        return kwargs

    @classmethod
    def add_cli_args(cls, parser):
        kwargs = cls._customize(get_kwargs(cls))
        for key, value in kwargs.items():
            parser.add_argument(f"--{key.replace('_', '-')}", **value)
        return parser

class FrontendArgs(BaseArgs):
    port: int = 8000
    middleware: list[str] = []

    @classmethod
    def _customize(cls, kwargs):
        kwargs = super()._customize(kwargs)
        kwargs["port"]["default"] = 9000
        return kwargs

def make_arg_parser(parser):
    parser.add_argument("model_tag", type=str, nargs="?")
    parser.add_argument("--headless", action="store_true", default=False)
    parser.add_argument("--api-server-count", "-asc", type=int, default=None)
    parser = FrontendArgs.add_cli_args(parser)
    parser = EngineArgs.add_cli_args(parser)
    return parser
''',
    "vllm/utils/argparse_utils.py": '''
class FlexibleArgumentParser(ArgumentParser):
    def parse_args(self, args=None):
        if re.match(r"^--served[-_]model[-_]name(=.+|$)", args[0]):
            model_tag = args[0].removeprefix("--model=")
        processed_args += ["--optimization-level", level]
        def create_nested_dict(keys, value):
            pass
''',
    "vllm/tool_parsers/__init__.py": '_TOOL_PARSERS_TO_REGISTER = {"kimi_k2": ("a", "B"), "hermes": ("c", "D")}\n',
    "vllm/reasoning/kimi.py": '@ReasoningParserManager.register_module("kimi_k2")\nclass Kimi:\n    pass\n',
    "vllm/envs.py": 'environment_variables: dict = {"VLLM_HOST_IP": lambda: 1, "VLLM_PORT": lambda: 2}\n',
}  # fmt: skip

SERVED: list[tuple[str, dict[str, Any]]] = [
    ("--model", {"kind": "text", "default": "Qwen/Qwen3-0.6B"}),
    ("--max-model-len", {"kind": "size-or-auto", "limits": ">=-1"}),
    ("--dtype", {"kind": "text", "choices": ["auto", "bfloat16", "half"], "default": "auto"}),
    ("--tokenizer-mode", {"kind": "text", "registered": ["auto", "hf"], "default": "auto"}),
    ("--quantization", {"kind": "text", "aliases": ["-q"], "also": ["None"]}),
    ("--hf-overrides", {"kind": "json", "shape": {"dict": "any"}, "default": "{}"}),
    ("--enforce-eager", {"kind": "bool", "negative": ["--no-enforce-eager"], "default": "false"}),
    ("--gpu-memory-utilization", {"kind": "float", "default": "0.9", "limits": ">0 <=1"}),
    ("--enable-prefix-caching", {"kind": "bool", "negative": ["--no-enable-prefix-caching"]}),
    ("--backend", {"kind": "text", "also": ["None"], "choices": ["a", "b"], "default": "a"}),
    ("--devices", {"kind": "int", "also": ["None"], "many": "words"}),
    ("--eplb-config", {"kind": "json", "shape": {"class": "EPLBConfig"}, "default": "EPLBConfig()"}),
    ("--speculative-config", {"kind": "json", "aliases": ["-sc"], "also": ["None"],
                              "shape": [{"class": "SpeculativeConfig"}, "none"]}),
    ("--moe", {"kind": "text", "folded": True, "choices": ["auto", "flashinfer_trtllm"], "default": "auto"}),
    ("--old", {"kind": "switch", "deprecated": ""}),
    ("--headless", {"kind": "switch", "default": "false"}),
    ("--api-server-count", {"kind": "int", "aliases": ["-asc"]}),
    ("--api-key", {"kind": "text", "also": ["None"], "many": "words"}),
    ("--port", {"kind": "int", "default": "9000"}),
    ("--middleware", {"kind": "text", "many": "append", "default": "[]"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "wanted"), SERVED)
def test_vllms_options(name: str, wanted: dict[str, Any]) -> None:
    found = dict(vllm.serve(VLLM)["flags"][name])
    assert found.pop("source").startswith("vllm/")
    assert found == wanted


def test_the_rest_of_vllms_table() -> None:
    found = vllm.serve(VLLM)
    assert set(found["flags"]) == {name for name, _ in SERVED}
    assert found["positionals"] == {"model_tag": "?"}
    assert found["traits"] == ["O-optimization", "dotted", "model-first", "model-moved"]
    assert found["variables"] == "VLLM_HOST_IP VLLM_PORT"
    assert found["classes"]["EPLBConfig"] == {
        "keys": {
            "window_size": {"shape": "int", "default": "1000"},
            "policy": {"shape": {"one of": ["default", "greedy"]}, "default": "default"},
            "free": {"shape": "any", "default": "0"},
        },
        "closed": True,
    }


OLD_SGLANG = """
import argparse
import dataclasses
from typing import List, Optional
from sglang.srt.parser.reasoning_parser import ReasoningParser

BACKENDS = ["triton", "fa3"]

@dataclasses.dataclass
class ServerArgs:
    model_path: str
    tp_size: int = 1
    ratio: float = 0.5

    @staticmethod
    def add_cli_args(parser: argparse.ArgumentParser):
        parser.add_argument("--model-path", "--model", type=str, required=True)
        parser.add_argument("--tensor-parallel-size", "--tp-size", type=int, default=ServerArgs.tp_size)
        parser.add_argument("--attention-backend", type=str, choices=BACKENDS + ["flashinfer"])
        parser.add_argument("--ratio", type=float, default=ServerArgs.ratio)
        parser.add_argument("--reasoning-parser", type=str, choices=list(ReasoningParser.DetectorMap.keys()))
        parser.add_argument("--cuda-graph-bs", type=int, nargs="+")
        parser.add_argument("--gone", action=DeprecatedAction, new_flag="--here")
        parser.add_argument("--stay", action="store_true", help="(Deprecated: use --here)")

class DeprecatedAction(argparse.Action):
    def __init__(self, option_strings, dest, new_flag=None, nargs=0, **kwargs):
        super().__init__(option_strings, dest, nargs=nargs, **kwargs)
"""

NEW_SGLANG = """
from typing import List, Literal, Optional
from sglang.srt.arg_groups.arg_utils import A, Arg
from sglang.srt.utils.common import human_readable_int

class ServerArgs:
    model_path: A[str, Arg(help="The path.", aliases=["--model"])]
    tp_size: A[int, Arg(help="Ranks.", cli_name="--tp-size", aliases=["--tensor-parallel-size"])] = 1
    backend: A[Optional[Literal["a", "b"]], "Which."] = None
    graph: A[Optional[List[int]], "Sizes."] = None
    tokens: A[Optional[int], Arg(help="Tokens.", type_parser=human_readable_int)] = None
    fast: A[bool, "Fast."] = False
    hidden: A[bool, Arg(help="No option.", no_cli=True)] = False
    inner: int = 0

    @staticmethod
    def add_cli_args(parser):
        add_cli_args_from_dataclass(parser, ServerArgs)
        parser.add_argument("--config", type=str)
"""


def without_sources(table: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The flags of a table."""
    return {name: {key: entry[key] for key in entry if key != "source"} for name, entry in table["flags"].items()}


def test_sglangs_options_as_calls() -> None:
    found = sglang.server({
        "sglang/srt/server_args.py": OLD_SGLANG,
        "sglang/srt/parser/reasoning_parser.py": "class ReasoningParser:\n    DetectorMap = {'kimi': A, 'kimi_k2': B}",
        "sglang/srt/environ.py": 'envs = "SGLANG_A SGL_B_C"',
    })  # fmt: skip
    assert without_sources(found) == {
        "--model-path": {"kind": "text", "aliases": ["--model"], "required": True},
        "--tensor-parallel-size": {"kind": "int", "aliases": ["--tp-size"], "default": "1"},
        "--attention-backend": {"kind": "text", "choices": ["triton", "fa3", "flashinfer"]},
        "--ratio": {"kind": "float", "default": "0.5"},
        "--reasoning-parser": {"kind": "text", "choices": ["kimi", "kimi_k2"]},
        "--cuda-graph-bs": {"kind": "int", "many": "words"},
        "--gone": {"kind": "switch", "deprecated": "--here"},
        "--stay": {"kind": "switch", "deprecated": "--here"},
    }
    assert found["variables"] == "SGLANG_A SGL_B_C"


def test_sglangs_options_as_annotated_fields() -> None:
    found = sglang.server(
        {
            "sglang/srt/server_args.py": NEW_SGLANG,
            "sglang/srt/arg_groups/arg_utils.py": "A = Annotated\nclass Arg(Struct):\n    help: str = ''\n",
            "sglang/srt/utils/common.py": "def human_readable_int(value):\n    return int(value)\n",
        }
    )
    assert without_sources(found) == {
        "--model-path": {"kind": "text", "aliases": ["--model"], "required": True},
        "--tp-size": {"kind": "int", "aliases": ["--tensor-parallel-size"], "default": "1"},
        "--backend": {"kind": "text", "choices": ["a", "b"]},
        "--graph": {"kind": "int", "many": "words"},
        "--tokens": {"kind": "size-si"},
        "--fast": {"kind": "switch", "default": "false"},
        "--config": {"kind": "text"},
    }


def test_click_and_typer() -> None:
    run = """
import click
@click.command()
@click.argument("model", required=False)
@click.option("--host", "-H", default=None)
@click.option("--nodes", "nodes", type=int, multiple=True)
@click.option("--dry-run", is_flag=True, default=False)
def run(model): pass
"""
    found = clicks.kt_run({"kt_kernel/cli/commands/run.py": run})
    assert found["positionals"] == {"model": "?"}
    assert {name: entry["kind"] for name, entry in found["flags"].items()} == {
        "--dry-run": "switch", "--host": "text", "--nodes": "int",
    }  # fmt: skip
    download = """
from typing import Annotated, Optional
RepoId = Annotated[str, typer.Argument(help="repo")]
def download(
    repo_id: RepoId,
    files: Annotated[Optional[list[str]], typer.Argument()] = None,
    include: Annotated[Optional[list[str]], typer.Option()] = None,
    quiet: Annotated[bool, typer.Option()] = False,
): pass
"""
    found = clicks.hub_download({"huggingface_hub/cli/download.py": download})
    assert found["positionals"] == {"repo_id": "1", "files": "*"}
    assert found["flags"]["--include"]["many"] == "append"
    assert found["flags"]["--quiet"]["negative"] == ["--no-quiet"]


def test_a_package_that_is_built_in_another_way_is_said() -> None:
    with pytest.raises(KeyError, match="arg_utils"):
        vllm.serve({})
    with pytest.raises(KeyError, match="server_args"):
        sglang.server({})


def test_sources_for_a_newer_python_are_no_fault() -> None:
    program = Program({"a.py": "type X = int\n", "b.py": "from a import X\nY = [1, 2]\n"})
    module = program.module("b")
    assert module is not None
    assert Interpreter(program).constant(module, "Y") == [1, 2]
    assert program.find(module, "X") is None


def test_nothing_of_the_package_is_run() -> None:
    source = """
import os
os.remove("/")
class ServerArgs:
    @staticmethod
    def add_cli_args(parser):
        open("/etc/passwd").read()
        parser.add_argument("--x")
"""
    assert list(sglang.server({"sglang/srt/server_args.py": source})["flags"]) == ["--x"]


def test_given_tables_are_converted() -> None:
    known = {"KvCacheConfig": {"fields": {"dtype": {"type": "str", "default": "auto"}}}}
    assert shape_of("Optional[List[int]]", known) == [{"list": "int"}, "none"]
    assert shape_of("Union[str, Other]", known) == "any"
    assert shape_of("Optional[KvCacheConfig]", known) == [{"class": "KvCacheConfig"}, "none"]
    assert shape_of("Literal['a', 'b']", known) == {"one of": ["a", "b"]}
    data = {"command": "trtllm-serve serve", "source": "somewhere", "flags": {"--tp": {"type": "int", "default": 1}},
            "arguments": ["model"], "yaml_root_class": "Args", "yaml_keys": {"kv": {"type": "KvCacheConfig"}},
            "nested_config_classes": known}  # fmt: skip
    found = converted(data, parser="click", release="1", engine="trtllm")
    assert found["source"] == "somewhere"
    assert found["flags"] == {"--tp": {"kind": "int", "default": "1", "source": ""}}
    assert found["classes"]["Args"]["keys"] == {"kv": {"class": "KvCacheConfig"}}


def test_a_table_is_written_one_line_a_flag_and_read_again() -> None:
    text = written(table(recipe("vllm"), "9.9.9", "vllm-9.9.9.whl", VLLM))
    assert sum(line.startswith('  "--') for line in text.splitlines()) == len(SERVED)
    again = from_json(json.loads(text))
    assert again.source.startswith("vllm-9.9.9.whl: ")
    assert again.spellings["-q"] == "--quantization"
    assert {one.engine for one in RECIPES} >= {"vllm", "sglang", "sglang-kt", "kt-kernel", "sglang-router"}
