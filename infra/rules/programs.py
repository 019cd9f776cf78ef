"""Commands that are nearly an engine's: a word after the program, or a module, that the package does not have."""

import re
from collections.abc import Iterator, Mapping

from infra.flags.near import nearest_name
from infra.rules.distributions import installed, pinned
from infra.rules.release import within
from infra.rules.script import Flaw, Script, ScriptRule, Step

SUBCOMMANDS: Mapping[str, frozenset[str]] = {
    "vllm": frozenset({"bench", "chat", "collect-env", "complete", "launch", "run-batch", "serve", "snapshot"}),
    "sglang": frozenset({"generate", "serve", "version"}),
}
SERVER_OPTIONS = frozenset(
    {"--host", "--model", "--model-path", "--port", "--tensor-parallel-size", "--tp", "--tp-size"}
)
"""Options that somebody gives who starts a server."""
SERVERS = (
    "sglang.launch_server",
    "sglang_router.launch_router",
    "tensorrt_llm.commands.serve",
    "vllm.entrypoints.api_server",
    "vllm.entrypoints.openai.api_server",
)
OTHERS = frozenset({"vllm.entrypoints.grpc_server", "vllm.entrypoints.openai.run_batch"})
"""Modules that are there, and whose names are like those of servers."""
_BEFORE = frozenset({"exec", "nohup", "sudo", "time"})
_SIMILAR = 0.9


def _commands(script: Script) -> Iterator[Flaw]:
    for step in script.steps:
        at = _program(step)
        if at is None or at + 1 >= len(step.words):
            continue
        program, given = step.words[at].rpartition("/")[2], step.words[at + 1]
        if given in SUBCOMMANDS[program] or not re.fullmatch(r"[a-z][a-z_-]*", given):
            continue
        if SERVER_OPTIONS & {word.partition("=")[0] for word in step.words[at + 2 :]}:
            yield Flaw(
                place=step.place,
                word=given,
                found=f"{program} {given}",
                wanted=f"{program} with one of {', '.join(sorted(SUBCOMMANDS[program]))}",
                fix=f"write {program} serve",
            )


def _program(step: Step) -> int | None:
    """Where the program stands, past what starts it."""
    words = [word.rpartition("/")[2] for word in step.words]
    at = next((n for n, word in enumerate(words) if word not in _BEFORE), len(words))
    if words[at : at + 2] == ["uv", "run"]:
        at += 2
    return at if at < len(words) and words[at] in SUBCOMMANDS else None


def _modules(script: Script) -> Iterator[Flaw]:
    vllm = pinned(installed(script.steps).get("vllm", "")) or script.pinned.get("vllm", "")
    for step in script.steps:
        module = next((after for word, after in zip(step.words, step.words[1:], strict=False) if word == "-m"), "")
        if module == "vllm.entrypoints.api_server" and vllm and within(vllm, since="0.33.0"):
            yield _no_module(step, module, "vllm.entrypoints.openai.api_server")
        if module in SERVERS or module in OTHERS or not module.startswith(("sglang", "tensorrt_llm.", "vllm.")):
            continue
        near = nearest_name(module, SERVERS, cutoff=_SIMILAR)
        if near:
            yield _no_module(step, module, near)


def _no_module(step: Step, module: str, near: str) -> Flaw:
    return Flaw(
        place=step.place, word=module, found=module, wanted="a module of the package", fix=f"did you mean {near}?"
    )


SCRIPT_RULES: tuple[ScriptRule, ...] = (
    ScriptRule(
        name="engine-command",
        title="a server's options after a command that the engine's program does not have",
        why="the program refuses it",
        source="vllm 0.33.0, vllm/entrypoints/cli/main.py; sglang 0.5.23, sglang/cli/main.py",
        check=_commands,
    ),
    ScriptRule(
        name="engine-module",
        title="a module that is nearly the server's, or that is gone",
        why="Python finds no such module",
        source="vllm 0.10.0 to 0.33.0, sglang 0.5.9 to 0.5.23: RECORD",
        check=_modules,
    ),
)
