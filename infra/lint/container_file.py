"""A Dockerfile: what its RUN lines run, and what its entry point and CMD start."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from infra.flags.words import Token
from infra.lint.document import Around
from infra.lint.shell import Script

_INSTRUCTION = re.compile(
    r"[ \t]*(?P<name>FROM|RUN|CMD|ENTRYPOINT|ENV|ARG|HEALTHCHECK|COPY|ADD|WORKDIR|USER|LABEL|EXPOSE|SHELL)[ \t]+",
    re.IGNORECASE,
)
_RUN_OPTION = re.compile(r"(?:--(?:mount|network|security)=\S+[ \t]+)+")


@dataclass(slots=True)
class ContainerFile:
    """Reads one Dockerfile; `words` gets the command line of each stage's container."""

    script: Script
    words: Callable[[tuple[Token, ...], Around], None]
    image: str = ""
    entry: tuple[Token, ...] = ()
    arguments: tuple[Token, ...] = ()

    def read(self, text: str, line: int) -> None:
        """Follows the instructions in order."""
        for name, body, at in _instructions(text, line):
            if name == "FROM":
                self._finish()
                self.image = (
                    body.split()[0]
                    if body.split() and not body.startswith("--")
                    else body.partition(" ")[2].split(" ")[0]
                )
                self.entry = self.arguments = ()
            elif name == "RUN":
                self.script.run(_RUN_OPTION.sub("", body), at, 1)
            elif name in ("ENV", "ARG"):
                self._variables(name, body, at)
            elif name in ("CMD", "ENTRYPOINT"):
                self._start(name, body, at)
        self._finish()

    def _variables(self, name: str, body: str, at: int) -> None:
        if "=" not in body.split(" ", maxsplit=1)[0]:
            key, _, value = body.strip().partition(" ")
            if name == "ARG" or not re.fullmatch(r"[A-Za-z_]\w*", key):
                return
            body = f"{key}={json.dumps(value)}"
        self.script.run(f"export {body}", at, 1)

    def _start(self, name: str, body: str, at: int) -> None:
        words = _exec_form(body, at)
        if words is None:
            self.script.run(body, at, 1)
        elif name == "ENTRYPOINT":
            self.entry, self.arguments = words, ()
        else:
            self.arguments = words

    def _finish(self) -> None:
        words = (*self.entry, *self.arguments)
        if words:
            image = "" if self.entry else self.image
            is_entry = bool(self.entry and not self.arguments)
            self.words(words, Around(image=image, entry=is_entry, env=dict(self.script.scope.env())))


def _exec_form(body: str, at: int) -> tuple[Token, ...] | None:
    """The words of a JSON list; None where the body is a shell's text."""
    if not body.lstrip().startswith("["):
        return None
    joined = re.sub(r"\\\n", " \n", body)
    try:
        value = json.loads(joined)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return None
    found: list[Token] = []
    position = 0
    for item in value:
        written = joined.find(json.dumps(item), position)
        position = written if written >= 0 else position
        unknown = re.search(r"\$(?=[{A-Za-z_])", item)
        line = at + joined.count("\n", 0, position)
        found.append(Token(text=item, line=line, literal=unknown.start() if unknown else -1))
    return tuple(found)


def _instructions(text: str, line: int) -> Iterator[tuple[str, str, int]]:
    """(name, body, line of the body), continuation lines and here-documents with their instruction."""
    rows = text.split("\n")
    at = 0
    while at < len(rows):
        found = _INSTRUCTION.match(rows[at])
        start = at
        at += 1
        if not found:
            continue
        body = [rows[start][found.end() :]]
        while at < len(rows) and body[-1].rstrip().endswith("\\"):
            comment = rows[at].lstrip().startswith("#") or not rows[at].strip()
            body.append("\\" if comment else rows[at])
            at += 1
        document = re.search(r"<<-?[\"']?(\w+)[\"']?", body[-1])
        if document and found["name"].upper() in ("RUN", "COPY"):
            while at < len(rows) and rows[at].strip() != document[1]:
                body.append(rows[at])
                at += 1
            body.append(document[1])
            at += 1
            if re.fullmatch(r"<<-?[\"']?\w+[\"']?", body[0].strip()):
                yield found["name"].upper(), "\n".join(body[1:-1]), line + start + 1
                continue
        yield found["name"].upper(), "\n".join(body).removesuffix("\\"), line + start
