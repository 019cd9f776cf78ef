"""Words without a flag (`enroll HOST…`), which Invoke takes for names of tasks, as one option before it parses them."""

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
        core.unparsed[:] = joined(core.unparsed, contexts, task, option)


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
