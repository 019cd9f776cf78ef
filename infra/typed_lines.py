"""A shell line over several rows of a screen: one option and its values a row, and it can still be pasted."""

import re
from collections.abc import Iterator

_WORDS = re.compile(r"""(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s'"\\])+""")
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*=")
_INLINE = ("-m", "-c")
"""Single-dash options that belong to the word before them."""


def words(line: str) -> list[str]:
    """The words of a line as they are written, quotes and all."""
    return _WORDS.findall(line)


def rows(line: str, width: int, indent: int = 4) -> Iterator[str]:
    """The line in rows of at most `width`; a word that is too long goes on in the first column of the next row."""
    more = indent + 2
    groups = list(_groups(words(line), width - more - 2))
    for n, group in enumerate(groups):
        last = n == len(groups) - 1
        yield from _cut(" " * (more if n else indent) + group + ("" if last else " \\"), width)


def _groups(found: list[str], room: int) -> Iterator[str]:
    """What stands on one row: an assignment, the program's words, or an option and its values."""
    row: list[str] = []
    started = False
    for word in found:
        assigns = not started and _SETTING.match(word) is not None
        if row and (_begins(word, row) or assigns or len(" ".join((*row, word))) > room):
            yield " ".join(row)
            row = []
        row.append(word)
        started = started or not assigns
        if assigns:
            yield " ".join(row)
            row = []
    if row:
        yield " ".join(row)


def _begins(word: str, row: list[str]) -> bool:
    """Whether a word begins a row: an option, or a `key=value` that is no option's value."""
    if word.startswith("-") and len(word) > 1 and not word[1].isdigit():
        return word not in _INLINE
    return _SETTING.match(word) is not None and not row[-1].startswith("-")


def _cut(row: str, width: int) -> Iterator[str]:
    r"""A row cut where the shell puts it together again: `'abc'\` and, in the first column, `'def'`."""
    while len(row) > width:
        at, quoted = _place(row, width - 2)
        yield row[:at] + (f"{quoted}\\" if quoted else "\\")
        row = quoted + row[at:]
    yield row


def _place(row: str, most: int) -> tuple[int, str]:
    """Where to cut, and the quotation mark that is open there; after a comma or a slash where there is one."""
    open_at = [""]
    mark, escaped = "", False
    for letter in row[:most]:
        if escaped:
            escaped = False
        elif letter == "\\" and mark != "'":
            escaped = True
        elif mark:
            mark = "" if letter == mark else mark
        elif letter in "'\"":
            mark = letter
        open_at.append("\\" if escaped else mark)
    good = [at for at in range(most, most // 2, -1) if row[at - 1] in ", /" and _may(row, at, open_at)]
    at = good[0] if good else next(at for at in range(most, 0, -1) if _may(row, at, open_at))
    return at, open_at[at]


def _may(row: str, at: int, open_at: list[str]) -> bool:
    """Not within an escape or an expansion, and not where a blank outside quotation marks would be lost or made."""
    mark = open_at[at]
    if mark == "\\" or (not mark and (row[at - 1].isspace() or row[at : at + 1].isspace())):
        return False
    expansion = row.rfind("$", 0, at)
    if mark == "'" or expansion < 0:
        return True
    return re.fullmatch(r"\$(\{[^}]*\}|\(\(.*\)\)).*", row[expansion:at]) is not None
