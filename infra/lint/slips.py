"""What a shell would not read as its writer meant it, as problems."""

from collections.abc import Iterator, Sequence

from hosts.problem import Problem
from infra.lint.document import Document, Launch
from infra.lint.words import Note

_SOURCE = "POSIX shell, 2.2.1 Escape Character and 2.3 Token Recognition"
_TEXTS = {
    "blank": (
        "a blank after the backslash",
        "the backslash as the last character of its line",
        "the shell takes the blank as a word and ends the command here; what follows is not part of it",
        "delete what stands after the backslash at the end of line {line}",
    ),
    "missing": (
        "no backslash at the end of the line, and options on the next one",
        "a backslash at the end of every line but the last",
        "the shell ends the command here, and runs the next line as a command of its own",
        "end line {line} with a backslash",
    ),
    "ampersand": (
        "no backslash at the end of the line, and & alone on the next one",
        "& behind the command",
        "the shell ends the command here, and refuses a line that begins with &",
        "end line {line} with &, or with a backslash",
    ),
    "comment": (
        "a comment inside the command",
        "comments before the command",
        "the comment ends the command, for a backslash in or before it joins nothing; what follows is not part of it",
        "move the comment of line {line} above the command",
    ),
    "doubled": (
        "two backslashes at the end of the line",
        "one backslash",
        "the first makes the second a word of its own, and the command ends here",
        "delete one backslash at the end of line {line}",
    ),
    "quote": (
        "a quote that is never closed",
        "a closing quote",
        "the shell reads on to the end of the file",
        "close the quote of line {line}",
    ),
    "typographic": (
        "a typographic quotation mark",
        "\" or '",
        "the shell takes it for a letter; word processors and web pages put it there",
        "write straight quotes in line {line}",
    ),
}


def of_launch(document: Document, launch: Launch) -> Iterator[Problem]:
    """The slips in the lines of one command."""
    lines = lines_of(launch)
    remarks: list[int] = []
    for note in document.notes:
        if note.line in lines and note.kind == "remark":
            remarks.append(note.line)
        elif note.line in lines and note.kind in _TEXTS:
            yield _problem(note)
    if remarks:
        yield _of_remarks(sorted(set(remarks)))


def lines_of(launch: Launch) -> set[int]:
    """The lines that a command stands in, those of its arrays included."""
    return {token.line for token in launch.found.words} | set(range(launch.start_line, launch.end_line + 1))


def _of_remarks(lines: Sequence[int]) -> Problem:
    """Comments after backslashes of one command: it is one habit, and is told once."""
    several = f"lines {', '.join(map(str, lines[:-1]))} and {lines[-1]}" if len(lines) > 1 else f"line {lines[0]}"
    return Problem(
        rule="shell",
        where=f"line {lines[0]}",
        found=f"a comment after the backslash at the end of {several}",
        wanted="the backslash as the last character of its line",
        why="before anything but a line's end it joins no lines: the command ends there, without what follows",
        fix=f"move the comments of {several} above the command",
        source=_SOURCE,
    )


def _problem(note: Note) -> Problem:
    found, wanted, why, fix = _TEXTS[note.kind]
    return Problem(
        rule="shell",
        where=f"line {note.line}",
        found=found,
        wanted=wanted,
        why=why,
        fix=fix.format(line=note.line),
        source=_SOURCE,
    )
