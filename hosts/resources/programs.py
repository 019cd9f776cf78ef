"""The Python programs that run on hosts (standard library only), as shell that needs no file there."""

from functools import cache
from pathlib import Path

from hosts.shell import quote

FOLDER = Path(__file__).parent.parent / "programs"


@cache
def program(name: str) -> str:
    """The source of a program in `hosts/programs`."""
    return (FOLDER / f"{name}.py").read_text(encoding="utf-8")


def run(name: str, *arguments: str, redirect: str = "") -> str:
    """Shell that runs a program from a here-document; its standard input stays closed."""
    words = " ".join(map(quote, arguments))
    return f"python3 -I /dev/fd/3 {words} {redirect} 3<<'SLIPWAY_PROGRAM'\n{program(name)}\nSLIPWAY_PROGRAM"
