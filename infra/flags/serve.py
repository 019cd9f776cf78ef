"""Where `vllm serve` wants its model: as the first word, not as an option."""

import re
from collections.abc import Iterator, Sequence

from hosts.problem import Problem
from infra.flags.case import Case
from infra.flags.finding import Edit, Finding
from infra.flags.words import Token


def model_first(case: Case, words: Sequence[Token]) -> Iterator[tuple[int, Finding]]:
    """Models that the release refuses where they stand, or that it does not see."""
    traits = case.table.traits
    positional = case.reading.positionals[0] if case.reading.positionals else None
    flagged = next((one for one in case.reading.given if one.name == "--model" and not one.trouble), None)
    if case.table.engine != "vllm" or case.asks_for_help or case.partial:
        return
    if case.module:
        if positional is not None and not flagged and not case.reading.open:
            yield positional.at, _ignored(case, positional.token, positional.at)
        return
    exact = next((index for index, word in enumerate(words) if word.text == "--model"), None)
    if "model-refused" in traits and exact is not None and flagged is not None:
        yield exact, _refused(case, words[exact], flagged.values[0].text)
    named = any(re.match(r"--served[-_]model[-_]name(=|$)", word.text) for word in words)
    moved = "model-moved" in traits and any(re.match(r"--model(=.|$)", word.text) for word in words)
    config = any(re.match(r"--config(=.|$)", word.text) for word in words)
    dashed = bool(words) and words[0].certain.startswith("-")
    if "model-first" in traits and named and dashed and not moved and not config:
        if positional is not None:
            yield positional.at, _late(case, positional.token, positional.at)
        elif not case.reading.open:
            yield 0, _absent(case, words[0].where)


def _ignored(case: Case, token: Token, at: int) -> Finding:
    problem = Problem(
        where=token.where,
        token=token.text,
        found=f"{token.text} as a word of its own",
        wanted=f"--model {token.text}",
        why="started as a module the server reads the model only from --model, and would serve its default",
        fix=f"write --model {token.text}",
        rule="flag",
        source=case.table.source,
    )
    return Finding(problem=problem, edit=Edit(take=(at,), add=(("--model", token.text),)))


def _refused(case: Case, token: Token, model: str) -> Finding:
    problem = Problem(
        where=token.where,
        token="--model",  # noqa: S106 - a word of a command
        found=f"--model {model}",
        wanted=f"vllm serve {model} ...",
        why="vllm serve takes the model as its first word only",
        fix=f"write vllm serve {model}",
        rule="flag",
        source=case.table.source,
    )
    return Finding(problem=problem, edit=Edit(drop=("--model",), add=((model,),)))


def _late(case: Case, token: Token, at: int) -> Finding:
    problem = Problem(
        where=token.where,
        token=token.text,
        found=f"{token.text} after other options",
        wanted=f"vllm serve {token.text} ...",
        why="with --served-model-name the model must be the first word",
        fix=f"write vllm serve {token.text}, then the options",
        rule="flag",
        source=case.table.source,
    )
    return Finding(problem=problem, edit=Edit(take=(at,), add=((token.text,),)))


def _absent(case: Case, where: str) -> Finding:
    problem = Problem(
        where=where,
        token=None,
        found="no model",
        wanted="vllm serve MODEL",
        why="with --served-model-name it must be there",
        fix="write the model as the first word",
        rule="flag",
        source=case.table.source,
    )
    return Finding(problem=problem)
