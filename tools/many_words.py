"""What people type and Invoke reads otherwise, put right before it parses: `enroll HOST…` and `lint --help`."""

from collections.abc import Mapping, Sequence

from invoke.collection import Collection
from invoke.main import program
from invoke.parser.context import ParserContext

SEPARATOR = ","


def accept(commands: Collection, task: str, option: str) -> None:
    """Lets `task` of this run's command line take free words as its `option`; for the end of a tasks module."""
    core = getattr(program, "core", None)  # what Invoke has read so far; nothing where it is not Invoke that imports
    if core is not None:
        contexts = {str(context.name): context for context in commands.to_contexts()}
        words = joined(core.unparsed, contexts, task, option)
        if asked := asked_for_help(words, contexts):
            core[0].args["help"].value = asked  # as `invoke --help TASK` sets it
            words = []
        core.unparsed[:] = words


def asked_for_help(words: Sequence[str], contexts: Mapping[str, ParserContext]) -> str:
    """The task whose help is asked for, where it wants a word and would take `--help` for that one; else ""."""
    if words and words[0] in contexts and contexts[words[0]].positional_args and {"--help", "-h"} & set(words):
        return words[0]
    return ""


def joined(words: Sequence[str], contexts: Mapping[str, ParserContext], task: str, option: str) -> list[str]:
    """The words, those of `task` that stand free as `--option=a,b`; the first that names a task ends them."""
    if task not in words:
        return list(words)
    start = list(words).index(task) + 1
    flags = contexts[task].flags
    rest = list(words[start:])
    flagged: list[str] = []
    free: list[str] = []
    while rest and rest[0] not in contexts:
        word = rest.pop(0)
        (flagged if word.startswith("-") else free).append(word)
        if word in flags and flags[word].takes_value and rest:
            flagged.append(rest.pop(0))
    given = [f"--{option}={SEPARATOR.join(free)}"] if free else []
    return [*words[:start], *given, *flagged, *rest]
