"""The Python programs that run on hosts (standard library only), as shell that needs no file there."""

import re
from functools import cache
from pathlib import Path

from hosts.shell import quote

FOLDER = Path(__file__).parent.parent / "programs"


_SHARED = re.compile(r"^from hosts\.programs\.(client) import [^(\n]+\n", re.MULTILINE)
"""An import of what programs share, on one line; on a host there is no such module."""
_FUTURE = "from __future__ import annotations\n"


@cache
def program(name: str) -> str:
    """The source of a program in `hosts/programs`, complete: the modules that it shares with others are inlined."""
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    return _SHARED.sub(lambda found: program(found[1]).replace(_FUTURE, "", 1), text)


def run(name: str, *arguments: str, redirect: str = "") -> str:
    """Shell that runs a program from a here-document; its standard input stays closed."""
    words = " ".join(map(quote, arguments))
    return f"python3 -I /dev/fd/3 {words} {redirect} 3<<'SLIPWAY_PROGRAM'\n{program(name)}\nSLIPWAY_PROGRAM"
