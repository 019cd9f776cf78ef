"""Command lines of the tests: words with the shell's quotes and variables read, as the lint would hand them on."""

import re
import shlex
from collections.abc import Sequence

from infra.flags.check import Checked, check, corrected
from infra.flags.table import load
from infra.flags.words import Token


def tokens(line: str) -> tuple[Token, ...]:
    """The words of one line; an unquoted `$X` may become no word or several."""
    found = []
    for number, row in enumerate(line.splitlines() or [""], 1):
        lexer = shlex.shlex(row, posix=False, punctuation_chars=False)
        lexer.whitespace_split = True
        lexer.commenters = ""
        for raw in lexer:
            [text] = shlex.split(raw) or [""]
            variable = re.search(r"\$[A-Za-z_{(@*]", text)
            quoted = raw[:1] in "\"'"
            if variable is None or raw.startswith("'"):
                found.append(Token(text=text, line=number))
            else:
                found.append(
                    Token(text=text, line=number, literal=variable.start(), splits=not quoted and variable.start() == 0)
                )
    return tuple(found)


def read(engine: str, release: str, line: str, *, module: bool = False) -> Checked:
    """A line, checked."""
    return check(load(engine, release), tokens(line), module=module)


def repaired(engine: str, release: str, line: str) -> str | None:
    """The line with all edits made."""
    words = tokens(line)
    checked = check(load(engine, release), words)
    out = corrected(checked, words, checked.findings)
    return None if out is None else shlex.join(out)


def said(checked: Checked) -> Sequence[str]:
    """Level, token and fix of each finding."""
    return [f"{one.problem.level} {one.problem.token}: {one.problem.fix}" for one in checked.findings]
