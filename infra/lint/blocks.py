"""A document is cut into the scripts, manifests and units that stand in it; prose falls away."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from infra.lint import flat
from infra.lint.signature import mentions

Kind = Literal["shell", "yaml", "dockerfile", "unit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One piece of a document in one language, from a line on."""

    kind: Kind
    text: str
    line: int = 1
    flat: bool = False


_SUFFIXES: Mapping[str, Kind] = {
    **dict.fromkeys(("yaml", "yml"), "yaml"),
    **dict.fromkeys(("service", "socket"), "unit"),
    **dict.fromkeys(("dockerfile", "containerfile"), "dockerfile"),
    **dict.fromkeys(("sh", "bash", "sbatch", "slurm", "job", "zsh"), "shell"),
}
_PROSE = frozenset({"md", "markdown", "mdx", "rst", "adoc", "html"})
_FENCE = re.compile(
    r"(?P<indent>[ \t>]*+)(?:[-*+] |[0-9]{1,3}[.)] )?[ \t]*+(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)"
)
_DIRECTIVE = re.compile(
    r"(?P<indent>[ \t]*+)\.\. (?:code|code-block|sourcecode|prompt)::[ \t]*(?P<language>[\w-]*)[ \t]*"
)
_SHELLS = frozenset(
    {"bash", "sh", "shell", "zsh", "ksh", "console", "shell-session", "shellsession", "sh-session", "terminal"}
)
_TEXTS = frozenset({"", "slurm", "sbatch", "text", "txt", "none", "plaintext", "cmd", "command"})
_PYTHON = frozenset({"python", "py", "python3"})
_COMMAND = re.compile(r"(?:\s*#[^\n]*\n)*+\s*(?:[A-Z_]+=\S* )*(?:python3? +-|vllm +serve|trtllm-serve|docker +run)")
_YAML = frozenset({"yaml", "yml", "compose", "k8s", "kubernetes"})
_DOCKERFILES = frozenset({"dockerfile", "docker", "containerfile"})
_UNITS = frozenset({"ini", "systemd", "service", "unit", "conf"})
_PROMPT = re.compile(
    r"[ \t]*(?:\([\w./-]{1,40}\)[ \t]*)?(?:[\w.-]{1,40}@[\w.-]{1,60}(?::[^\s$#]{0,80})?[ \t]*[$#]"
    r"|\[[^\]\n]{1,60}\][ \t]*[$#]|[$\u276f\u279c])[ \t]+"
)
_DOCKER = re.compile(r"^(?:FROM|ENTRYPOINT|CMD)[ \t]+\S", re.MULTILINE)
_MAPPING = re.compile(
    r"^(?:apiVersion|kind|services|version|containers|command|args|run|metadata|resources|env|jobs|name|steps|stages|spec"
    r"|image)[ \t]*:",
    re.MULTILINE,
)
_NESTED = re.compile(r"^[ \t]*-[ \t]|:\n[^\n]*:\n|[{\[]", re.MULTILINE)
_SEQUENCE = re.compile(r"\s*\[[ \t\n]*[\"']")
_EXEC = re.compile(r"^ExecStart=", re.MULTILINE)
_SHEBANG = re.compile(r"\s*#!")
_INDENTED = re.compile(r"(?: {3,}+|\t)[ \t]*+\S")


def cut(text: str, name: str) -> tuple[Block, ...]:
    """The blocks of a document in their order."""
    file = name.rpartition("/")[2].lower()
    suffix = file.rpartition(".")[2]
    kind = "dockerfile" if "dockerfile" in file else _SUFFIXES.get(suffix)
    if kind == "shell" or (kind is None and _SHEBANG.match(text) and not flat.is_flat(text)):
        return _shell(text)
    if kind:
        return (Block(kind=kind, text=text),)
    if flat.is_flat(text):
        return tuple(_flat(text))
    rows = text.split("\n")
    if suffix in _PROSE or has_code(text):
        return tuple(_markdown(rows))
    kind = _sniffed(text)
    return _shell(text) if kind == "shell" else (Block(kind=kind, text=text),)


def has_code(text: str) -> bool:
    """Whether it is prose with code blocks in it."""
    return any(map(_begins_code, text.split("\n")))


def _begins_code(row: str) -> bool:
    return bool(_FENCE.match(row) or _DIRECTIVE.fullmatch(row))


def _shell(text: str, line: int = 1) -> tuple[Block, ...]:
    return (Block(kind="shell", text=_without_prompts(text), line=line),)


def _sniffed(text: str) -> Kind:
    if _EXEC.search(text):
        return "unit"
    if _SEQUENCE.match(text) or (_MAPPING.search(text) and not re.search(r"\\\n", text) and _NESTED.search(text)):
        return "yaml"
    if re.search(r"^(?:apiVersion|services|jobs):", text, re.MULTILINE):
        return "yaml"
    if re.search(r"^FROM[ \t]+\S", text, re.MULTILINE) and _DOCKER.search(text):
        return "dockerfile"
    if re.search(r"^(?:ENTRYPOINT|CMD)[ \t]*\[", text, re.MULTILINE):
        return "dockerfile"
    return "shell"


def _of_language(language: str, text: str, line: int) -> Iterator[Block]:
    if language in _YAML:
        yield Block(kind="yaml", text=text, line=line)
    elif language in _DOCKERFILES and (_DOCKER.search(text) or re.search(r"^RUN[ \t]", text, re.MULTILINE)):
        yield Block(kind="dockerfile", text=text, line=line)
    elif language in _UNITS and _EXEC.search(text):
        yield Block(kind="unit", text=text, line=line)
    elif language in _SHELLS | _TEXTS | _DOCKERFILES | _UNITS or (language in _PYTHON and _COMMAND.match(text)):
        kind = "shell" if language in _SHELLS else _sniffed(text)
        yield from _shell(text, line) if kind == "shell" else (Block(kind=kind, text=text, line=line),)


def _markdown(rows: Sequence[str]) -> Iterator[Block]:
    at = 0
    blank = True
    while at < len(rows):
        row = rows[at]
        fence = _FENCE.match(row)
        directive = None if fence else _DIRECTIVE.fullmatch(row)
        if fence:
            end, body = _fenced(rows, at, fence)
            language = re.split(r"[\s{,:]", fence["info"].strip().lstrip("{.").lower())[0].rstrip("}")
            yield from _of_language(language, body, at + 2)
            at, blank = end, True
        elif directive or (blank and _INDENTED.match(row)):
            start = at + 1 if directive else at
            end, body = _indented(rows, start, len(directive["indent"]) + 1 if directive else 3)
            language = directive["language"].lower() if directive else ""
            if not directive:  # it may be text that hangs under a list: inline code is no command
                body = "\n".join("" if "`" in row else row for row in body.split("\n"))
            if directive or mentions(body):
                yield from _of_language(language, body, start + 1)
            at, blank = max(end, at + 1), True
        else:
            blank = not row.strip()
            at += 1


def _fenced(rows: Sequence[str], at: int, fence: re.Match[str]) -> tuple[int, str]:
    """(the line after the block, its text without the fence's own indentation)."""
    mark, indent = fence["fence"], fence["indent"]
    body: list[str] = []
    for n in range(at + 1, len(rows)):
        stripped = rows[n].strip(" \t>")
        if stripped.startswith(mark) and not stripped.strip(mark[0]):
            return n + 1, "\n".join(body)
        body.append(_dedented(rows[n], indent))
    return len(rows), "\n".join(body)


def _dedented(row: str, indent: str) -> str:
    if ">" in indent:
        return re.sub(r"\A[ \t]*(?:>[ ]?)+", "", row)
    width = len(row) - len(row.lstrip(" \t"))
    return row[min(width, len(indent)) :]


def _indented(rows: Sequence[str], start: int, least: int) -> tuple[int, str]:
    """(the line after, the text) of lines that stand further to the right, blank lines among them."""
    end = start
    for n in range(start, len(rows)):
        row = rows[n].expandtabs(4)
        if row.strip() and len(row) - len(row.lstrip()) < least:
            break
        end = n + 1
    body = ["" if re.fullmatch(r"[ \t]+:[\w-]+:.*", row) else row for row in rows[start:end]]
    margins = [len(row) - len(row.lstrip(" \t")) for row in body if row.strip()]
    margin = min(margins, default=0)
    return end, "\n".join(row[margin:] for row in body)


def _flat(text: str) -> Iterator[Block]:
    for n, row in enumerate(text.split("\n")):
        for region in flat.regions(row):
            yield Block(kind="shell", text=region, line=n + 1, flat=True)


def _without_prompts(text: str) -> str:
    """What was typed after a prompt, and its continuation lines; where there are prompts, the rest is output."""
    rows = text.split("\n")
    prompted = [bool(_PROMPT.match(row)) for row in rows]
    if (
        not any(prompted)
        or not prompted[next((n for n, row in enumerate(rows) if row.strip() and not row.lstrip().startswith("#")), 0)]
    ):
        return text
    kept: list[str] = []
    continues = False
    for row, has_prompt in zip(rows, prompted, strict=True):
        if has_prompt:
            row = _PROMPT.sub("", row, count=1)  # noqa: PLW2901 - what was typed
        elif continues:
            row = re.sub(r"\A[ \t]*>[ \t]", "", row)  # noqa: PLW2901 - the shell's second prompt
        else:
            row = ""  # noqa: PLW2901 - output
        continues = row.rstrip().endswith("\\")
        kept.append(row)
    return "\n".join(kept)
