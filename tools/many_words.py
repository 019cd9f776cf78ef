"""What people type and Invoke reads otherwise, put right before it parses: `enroll HOST…`, `lint --help`, a tab."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise

from invoke.collection import Collection
from invoke.exceptions import Exit, ParseError
from invoke.main import program
from invoke.parser import Parser
from invoke.parser.context import ParserContext

from hosts.errors import InputError
from tools import completion

SEPARATOR = ","


def accept(commands: Collection, task: str, option: str) -> None:
    """Lets `task` of this run's command line take free words as its `option`; for the end of a tasks module.

    Raises Exit with status 2 where the words are none that the commands take.
    """
    core = getattr(program, "core", None)  # what Invoke has read so far; nothing where it is not Invoke that imports
    if core is None:
        return
    contexts = {str(context.name): context for context in parser_contexts(commands)}
    if core[0].args["complete"].value:
        values = completion.candidates(core.remainder, contexts)
        if values is not None:
            print("\n".join(values))
            raise Exit(code=0)
        return
    words = joined(core.unparsed, contexts, task, option)
    if asked := asked_for_help(words, contexts):
        core[0].args["help"].value = asked  # as `invoke --help TASK` sets it
        words = []
    if wrong := usage_error(words, list(contexts.values()), program.initial_context):
        if "--json" in words:
            print(json.dumps({"error": wrong, "problems": [], "exit": InputError.exit_code}))
        raise Exit("" if "--json" in words else f"error: {wrong}", code=InputError.exit_code)
    core.unparsed[:] = words


def parser_contexts(commands: Collection) -> list[ParserContext]:
    """What each command takes. Invoke takes the options' texts out of a task for that, and needs them there again."""
    texts = {name: dict(commands[name].help) for name in commands.task_names}
    contexts: list[ParserContext] = commands.to_contexts()
    for name, text in texts.items():
        commands[name].help = text
    return contexts


def usage_error(words: Sequence[str], contexts: Sequence[ParserContext], initial: ParserContext) -> str:
    """Why Invoke can't read the words, "" where it can; by itself it ends with status 1, or with a traceback."""
    try:
        Parser(contexts=contexts, initial=initial, ignore_unknown=False).parse_argv(list(words))
    except ParseError as error:
        return f"{error}; see: invoke --list, invoke COMMAND --help"
    except ValueError as error:
        word = str(error).rpartition(": ")[2].strip("'")
        before = [option for option, value in pairwise(words) if value == word]
        option = before[0] if before else "an option"
        return f"{option}: found {word!r}, wanted a number"
    return ""


def asked_for_help(words: Sequence[str], contexts: Mapping[str, ParserContext]) -> str:
    """The task whose help is asked for in a way that Invoke reads otherwise, else "".

    One that wants a word would take `--help` or `-h` for it.
    """
    if not words or words[0] not in contexts:
        return ""
    wants_a_word = bool(contexts[words[0]].positional_args)
    return words[0] if "-h" in words or (wants_a_word and "--help" in words) else ""


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
