"""Kubernetes manifests, compose files and the like: containers' command lines and the scripts that stand in values."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import yaml

from infra.flags.words import Token
from infra.lint.document import Around
from infra.lint.expand import words_of

_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_DEPTH = 100
_TEMPLATE_LINE = re.compile(r"^[ \t]*\{\{-?[^\n]*\}\}[ \t]*$", re.MULTILINE)
_TEMPLATE = re.compile(r"\{\{[^\n{}]*\}\}|\{%[^\n{}]*%\}")
_REFERENCE = re.compile(r"\$\(([A-Za-z_]\w*)\)")
_DEFAULT = re.compile(r"\$\{\w+:?-([^{}$]*)\}")
_SCRIPT_KEYS = frozenset(
    {"run", "script", "cmd", "command", "shell", "setup", "entrypoint", "args", "before_script", "inlineScript"}
)
_SPLIT = re.compile(r"^---[ \t]*(?:#.*)?$", re.MULTILINE)

Node = yaml.nodes.Node


@dataclass(slots=True)
class Manifest:
    """Walks YAML documents; `words` gets each argument list, `script` each shell text with its line."""

    words: Callable[[tuple[Token, ...], Around], None]
    script: Callable[[str, int, Around], None]
    base: int = 0
    """How many lines of the document come before."""
    seen: set[int] = field(default_factory=set)

    def read(self, text: str) -> bool:
        """Reads all documents of a text; False where one of them is no YAML."""
        text = _TEMPLATE.sub("$(TEMPLATE)", _TEMPLATE_LINE.sub("", text))
        whole = True
        start, line = 0, self.base
        for end in (*(found.start() for found in _SPLIT.finditer(text)), len(text)):
            part = text[start:end]
            if too_deep(part):
                whole = False
            elif part.strip():
                try:
                    root = yaml.compose(part, Loader=_LOADER)
                except (yaml.YAMLError, RecursionError, ValueError):
                    root, whole = None, False
                if root is not None:
                    self.seen.clear()  # identities hold as long as their document does
                    self._walk(root, "", line, Around(), 0)
            line += part.count("\n")
            start = end
            if text.startswith("---", start):
                start += 3
        return whole

    def _walk(self, node: Node, key: str, line: int, around: Around, depth: int) -> None:
        if id(node) in self.seen or depth > MAX_DEPTH:
            return
        self.seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            fields = dict(_fields(node))
            inner = _container(fields, around)
            if any(name in fields for name in ("command", "args", "entrypoint")):
                self._command(fields, line, inner)
            for name, value in fields.items():
                self._walk(value, name, line, inner, depth + 1)
        elif isinstance(node, yaml.SequenceNode):
            if not depth and all(isinstance(item, yaml.ScalarNode) for item in node.value):
                self.words(tuple(_token(item, line, around) for item in node.value), around)
            for item in node.value:
                self._walk(item, key, line, around, depth + 1)
        elif isinstance(node, yaml.ScalarNode):
            self._scalar(node, key, line, around)

    def _command(self, fields: dict[str, Node], line: int, around: Around) -> None:
        """A container's words: entry point first, its arguments after it."""
        words: list[Token] = []
        for name in ("entrypoint", "command", "args"):
            node = fields.get(name)
            if isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value):
                words += [_token(item, line, around) for item in node.value]
                self.seen.update(id(item) for item in node.value)
            elif isinstance(node, yaml.ScalarNode) and words and name == "args":
                words.append(_token(node, line, around))
                self.seen.add(id(node))
            elif isinstance(node, yaml.ScalarNode) and (words or name == "entrypoint"):
                words += words_of(str(node.value), _first_line(node, line), counts=node.style == "|")
                self.seen.add(id(node))
            elif isinstance(node, yaml.ScalarNode) and around.image:
                self.seen.add(id(node))
                folded = " ".join(str(node.value).split("\n")) if node.style == ">" else str(node.value)
                self.script(folded.replace("$$", "$"), _first_line(node, line), around)
        if words:
            self.words(tuple(words), around)

    def _scalar(self, node: yaml.ScalarNode, key: str, line: int, around: Around) -> None:
        text = str(node.value)
        if key in _SCRIPT_KEYS or "\n" in text or key.endswith((".sh", ".sbatch")):
            self.script(text, _first_line(node, line), around)


def too_deep(text: str) -> bool:
    """Whether brackets stand inside one another beyond any sense; a parser's own recursion would end the process."""
    depth = deepest = 0
    for char in re.findall(r"[\[\]{}]", text):
        depth += 1 if char in "[{" else -1
        deepest = max(deepest, depth)
    return deepest > MAX_DEPTH or any(len(dashes) > MAX_DEPTH * 2 for dashes in re.findall(r"(?:[-?:] ){100,}", text))


def plain(text: str) -> object:
    """A YAML file's value; None where it is none."""
    if too_deep(text) or len(text) > 1 << 18 or re.search(r"(?:^|[\s\[{,])[*&]\w", text):
        return None
    try:
        return yaml.load(text, Loader=_LOADER)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError):
        return None


def _fields(node: yaml.MappingNode) -> Iterator[tuple[str, Node]]:
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            yield str(key.value), value


def _container(fields: dict[str, Node], around: Around) -> Around:
    """What a container says of its image, variables and GPUs."""
    image = fields.get("image")
    env = dict(_env(fields.get("env"))) | dict(_env(fields.get("environment")))
    gpus = _gpus(fields.get("resources"))
    if not isinstance(image, yaml.ScalarNode) and not env and gpus is None:
        return around
    return replace(
        around,
        gpus_per_node=gpus if gpus is not None else around.gpus_per_node,
        env={**around.env, **env},
        image=_DEFAULT.sub(r"\1", str(image.value)) if isinstance(image, yaml.ScalarNode) else around.image,
        published=around.published or "ports" in fields,
    )


def _env(node: Node | None) -> Iterator[tuple[str, str]]:
    if isinstance(node, yaml.MappingNode):
        yield from ((name, str(value.value)) for name, value in _fields(node) if isinstance(value, yaml.ScalarNode))
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            if isinstance(item, yaml.MappingNode):
                entry = {name: value.value for name, value in _fields(item) if isinstance(value, yaml.ScalarNode)}
                if "name" in entry and "value" in entry:
                    yield str(entry["name"]), str(entry["value"])
            elif isinstance(item, yaml.ScalarNode) and "=" in item.value:
                name, _, value = item.value.partition("=")
                yield name, value


def _gpus(node: Node | None) -> int | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    for _, part in _fields(node):
        for name, value in _fields(part) if isinstance(part, yaml.MappingNode) else ():
            if name == "nvidia.com/gpu" and isinstance(value, yaml.ScalarNode) and str(value.value).isdigit():
                return int(str(value.value)[:4])
    return None


def _token(node: yaml.ScalarNode, line: int, around: Around) -> Token:
    """A word as the container gets it: `$(NAME)` is a variable of its own, everything else stays."""
    text = str(node.value)

    def known(found: re.Match[str]) -> str:
        value = around.env.get(found[1])
        return value if value is not None and "$" not in value else found[0]

    text = _REFERENCE.sub(known, text) if len(text) < 1 << 16 else text
    unknown = re.search(r"\$(?=[({A-Za-z_])", text)
    return Token(text=text, line=_first_line(node, line), literal=unknown.start() if unknown else -1)


def _first_line(node: yaml.ScalarNode, line: int) -> int:
    return line + int(node.start_mark.line) + (2 if node.style in ("|", ">") else 1)
