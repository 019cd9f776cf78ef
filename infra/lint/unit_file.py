"""A systemd unit: what it starts, with the variables that it sets."""

import re
from collections.abc import Iterator

_EXEC = re.compile(
    r"[ \t]*(?P<name>Exec(?:Start|StartPre|StartPost|Reload|Condition)|Environment)[ \t]*=[ \t]*(?P<body>.*)", re.DOTALL
)
_SPECIFIER = re.compile(r"%(%|[A-Za-z])")


def scripts(text: str, line: int) -> Iterator[tuple[str, int]]:
    """Shell text, with its line, for each command and variable of the unit."""
    for at, row in _logical(text, line):
        found = _EXEC.match(row)
        if not found:
            continue
        body = _SPECIFIER.sub(lambda match: "%" if match[1] == "%" else f"${{UNIT_{match[1]}}}", found["body"])
        if found["name"] == "Environment":
            if re.match(r"[\"']?[A-Za-z_]\w*=", body):
                yield f"export {body}", at
        else:
            yield body.lstrip("-@:+!|"), at


def _logical(text: str, line: int) -> Iterator[tuple[int, str]]:
    """Lines with their continuations; comments among those are no part of them."""
    rows = text.split("\n")
    at = 0
    while at < len(rows):
        start, body = at, [rows[at]]
        at += 1
        while at < len(rows) and body[-1].endswith("\\"):
            is_comment = rows[at].lstrip().startswith(("#", ";"))
            body.append("\\" if is_comment else rows[at])
            at += 1
        yield line + start, "\n".join(body)
