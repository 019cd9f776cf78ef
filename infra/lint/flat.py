"""A document that has lost its line ends: its code is found again, and its commands get lines of their own."""

import re
from collections.abc import Iterator

_LONG = 1500
_CODE = re.compile(
    r"\.\. (?:code|code-block|sourcecode):: (?:bash|sh|shell|console)? ?|```[ ]?(?:bash|sh|shell)? "
    r"|#!/(?:usr/)?bin/(?:env )?(?:ba)?sh "
)
_END = re.compile(r"```|``|~{4,}|-{4,}|={4,}|\.\. (?=_|code|sourcecode)|#!/(?:usr/)?bin/")
_LOST = re.compile(r" \\ +-")
_STARTS = re.compile(
    r"(?<!export) (?=#SBATCH |#!/|# |export [A-Z_]+=|module (?:load|purge)|cd \$|mkdir -|echo [\"']|if \[|fi(?: |$)"
    r"|exit [0-9]|conda create|pip install|\[ -d|python3? (?:-m |-u |[\w./-]+\.py)|vllm (?:serve|bench)|trtllm-serve "
    r"|sglang serve|(?:huggingface-cli|hf) download|sbatch |srun |mpirun |docker run|[A-Z][A-Z0-9_]+=[\S])"
)


def is_flat(text: str) -> bool:
    """Whether lines of code stand in one line of text."""
    return any(len(row) > _LONG and (_CODE.search(row) or len(_LOST.findall(row)) > 2) for row in text.split("\n"))


def regions(row: str) -> Iterator[str]:
    """The code of one line of such a document, each of its commands on a line of its own."""
    if len(row) <= _LONG:
        yield row
        return
    at = 0
    while found := _CODE.search(row, at):
        end = _END.search(row, found.end())
        at = end.start() if end else len(row)
        yield _with_lines(row[found.end() : at])
        if at <= found.start():
            return


def _with_lines(code: str) -> str:
    """Line ends where a command, a directive or a comment begins that no backslash joins to the one before."""
    parts: list[str] = []
    start = 0
    for found in _STARTS.finditer(code):
        if found.start() and code[found.start() - 1] != "\\":
            parts.append(code[start : found.start()])
            start = found.end()
    parts.append(code[start:])
    return re.sub(r"\\ +", "\\\\\n", "\n".join(parts)) if _LOST.search(code) else "\n".join(parts)
