"""Short flags mean one thing in every command, and the documents use none that is not there."""

import re
from pathlib import Path

import pytest
from invoke.parser.context import ParserContext

import tasks
from lab.short_flags import SHORT, Command
from tools.many_words import parser_contexts

ROOT = Path(__file__).parents[2]
CONTEXTS: dict[str, ParserContext] = {str(context.name): context for context in parser_contexts(tasks.ns)}


@pytest.mark.parametrize("name", sorted(tasks.ns.task_names))
def test_a_short_flag_is_of_its_one_option(name: str) -> None:
    assert isinstance(tasks.ns[name], Command)
    for argument in CONTEXTS[name].args.values():
        short = [word for word in argument.names if len(word) == 1]
        assert short == ([SHORT[argument.name]] if argument.name in SHORT else [])


def test_no_flag_is_help_or_another() -> None:
    assert "h" not in SHORT.values()
    assert len(set(SHORT.values())) == len(SHORT)


@pytest.mark.parametrize("document", [ROOT / "README.md", *(ROOT / "docs").glob("*.md")], ids=lambda p: p.name)
def test_documents_use_options_that_exist(document: Path) -> None:
    """`invoke COMMAND -x --y` in a document: each option is one of that command."""
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    for name, rest in re.findall(r"\binvoke ([a-z][a-z.-]*)([^`;#\n]*)", text):
        if name in CONTEXTS:
            used = re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", rest)
            assert [option for option in used if option not in CONTEXTS[name].flags and option != "--help"] == [], name
