"""Which package an engine's table is read from, and how a table is written down."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.flags.extract import clicks, sglang, vllm


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one engine's table is made."""

    engine: str
    distribution: str
    command: str
    folders: tuple[str, ...]
    """The beginnings of the names of the files that are read."""
    read: Callable[[Mapping[str, str]], dict[str, Any]]
    tells: str
    """The files that the table comes from, for its source field."""

    def wants(self, name: str) -> bool:
        """Whether a file of the package is read."""
        return name.endswith(".py") and name.startswith(self.folders)


RECIPES: tuple[Recipe, ...] = (
    Recipe(
        engine="vllm",
        distribution="vllm",
        command="vllm serve",
        folders=vllm.FOLDERS,
        read=vllm.serve,
        tells="vllm/engine/arg_utils.py, vllm/entrypoints/**/cli_args.py, vllm/config/*.py, vllm/envs.py",
    ),
    Recipe(
        engine="vllm-bench-serve",
        distribution="vllm",
        command="vllm bench serve",
        folders=vllm.FOLDERS,
        read=vllm.bench,
        tells="vllm/benchmarks/serve.py, vllm/benchmarks/datasets*",
    ),
    Recipe(
        engine="sglang",
        distribution="sglang",
        command="python -m sglang.launch_server",
        folders=sglang.FOLDERS,
        read=sglang.server,
        tells="sglang/srt/server_args.py, sglang/srt/arg_groups/**",
    ),
    Recipe(
        engine="sglang-kt",
        distribution="sglang-kt",
        command="python -m sglang.launch_server",
        folders=sglang.FOLDERS,
        read=sglang.server,
        tells="sglang/srt/server_args.py, sglang/srt/arg_groups/**",
    ),
    Recipe(
        engine="sglang-router",
        distribution="sglang-router",
        command="python -m sglang_router.launch_router",
        folders=sglang.ROUTER_FOLDERS,
        read=sglang.router,
        tells="sglang_router/router_args.py",
    ),
    Recipe(
        engine="kt-kernel",
        distribution="kt-kernel",
        command="kt run",
        folders=clicks.KT_FOLDERS,
        read=clicks.kt_run,
        tells="kt_kernel/cli/commands/run.py, kt_kernel/experts.py",
    ),
    Recipe(
        engine="huggingface-hub",
        distribution="huggingface-hub",
        command="hf download",
        folders=clicks.HUB_FOLDERS,
        read=clicks.hub_download,
        tells="huggingface_hub/cli/download.py",
    ),
    Recipe(
        engine="huggingface-cli",
        distribution="huggingface-hub",
        command="huggingface-cli download",
        folders=clicks.HUB_FOLDERS,
        read=clicks.cli_download,
        tells="huggingface_hub/commands/download.py",
    ),
)


def recipe(engine: str) -> Recipe:
    """How an engine's table is made. Raises KeyError."""
    return {one.engine: one for one in RECIPES}[engine]


def table(how: Recipe, release: str, file: str, sources: Mapping[str, str]) -> dict[str, Any]:
    """The table of a release from its sources; `file` is the name of the wheel."""
    return {
        "engine": how.engine,
        "release": release,
        "command": how.command,
        "source": f"{file}: {how.tells}",
        **how.read(sources),
    }


def written(data: Mapping[str, Any]) -> str:
    """A table as its file holds it: one line a flag, one line a class."""
    parts = []
    for key, value in data.items():
        if key in ("flags", "classes"):
            lines = ",\n".join(f"  {_compact(name)}: {_compact(entry)}" for name, entry in value.items())
            parts.append(f" {_compact(key)}: {{\n{lines}\n }}" if value else f" {_compact(key)}: {{}}")
        else:
            parts.append(f" {_compact(key)}: {_compact(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
