"""Strict, bounded reading of YAML: every problem is kept with its `$.path`, unknown keys name the nearest valid one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import yaml

from hosts.errors import InputError
from hosts.problem import Problem
from hosts.words import describe, nearest

__all__ = [
    "DECIMAL",
    "LINE",
    "MAX_FILE_BYTES",
    "MAX_TEXT",
    "PATH",
    "WORD",
    "Kind",
    "Reader",
    "describe",
    "load_yaml",
    "nearest",
    "parse_yaml",
]

MAX_FILE_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_TEXT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of text: the pattern that matches all of it, and the same in words, which is what messages show."""

    pattern: str
    wanted: str


LINE = Kind(pattern=r"[^\x00-\x1f\x7f]*", wanted=f"one line of text, at most {MAX_TEXT} characters")
WORD = Kind(
    pattern=r"[A-Za-z0-9_][A-Za-z0-9._:/@-]*",
    wanted="a name or an address: letters, digits and . _ : / @ -, the first a letter or digit",
)
PATH = Kind(
    pattern=r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._+@=-]+)+",
    wanted="an absolute path, as /shared/slipway: letters, digits and . _ + @ = -, no blanks, no `..`, no / at the end",
)
DECIMAL = Kind(pattern=r"[0-9]{1,9}(\.[0-9]{1,6})?", wanted='a number in quotes, as "2.50"')


# Pulumi's own reader is libyaml's in Go; where PyYAML was built without libyaml, its own in Python does
if TYPE_CHECKING:
    from yaml import SafeLoader as _Base
else:
    _Base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):
    """YAML 1.1 less its traps: `on` and `no` stay text as in YAML 1.2 (Pulumi reads 1.2); a key twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} stands twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _yaml_1_2() -> None:
    """Resolvers of the 1.2 core schema instead of 1.1's: no sexagesimal numbers, octals, dates or yes/no."""
    _Loader.yaml_implicit_resolvers = {}
    add = _Loader.add_implicit_resolver
    add("tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
    add("tag:yaml.org,2002:null", re.compile(r"^(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
    add("tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789"))
    add(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$"),
        list("-+0123456789."),
    )


_yaml_1_2()


def load_yaml(path: Path) -> object:
    """The parsed file. Raises InputError where it is unreadable, too large, or no YAML."""

    def wrong(found: str, wanted: str) -> NoReturn:
        raise InputError([Problem(where=str(path), found=found, wanted=wanted)])

    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        wrong(f"{error.strerror}", "a readable file")
    if len(data) > MAX_FILE_BYTES:
        wrong("a file of more than 1 MiB", "at most 1 MiB")
    try:
        return parse_yaml(data.decode())
    except UnicodeDecodeError as error:
        wrong(f"a byte at {error.start} that is no UTF-8", "UTF-8 text")
    except yaml.YAMLError as error:
        wrong(explained(error), "valid YAML")


def parse_yaml(text: str) -> object:
    """YAML text as plain values. Raises yaml.YAMLError.

    Aliases are refused, for a few lines of them can grow to gigabytes; so is deep nesting, which takes hours to read.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"aliases are not allowed: {event.start_mark}")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.YAMLError(f"nested deeper than {MAX_DEPTH} levels: {event.start_mark}")
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of SafeLoader


def explained(error: yaml.YAMLError) -> str:
    """What PyYAML says on one line; it calls whatever has no file name an `<unicode string>`."""
    return re.sub(r'[:,]? in "<(?:unicode|byte) string>",', " at", " ".join(str(error).split()))


class Reader:
    """One mapping of a file; each read checks one key; a wrong one becomes a problem and reads as a harmless value."""

    def __init__(self, data: object, file: str, path: str = "$", problems: list[Problem] | None = None) -> None:
        self.file = file
        self.path_ = path
        self.problems: list[Problem] = [] if problems is None else problems
        self._read: set[str] = set()
        if isinstance(data, dict):
            self.data: dict[object, object] = data
        else:
            self.data = {}
            self.problem(path, describe(data), "a mapping")

    def problem(self, where: str, found: str, wanted: str, *, why: str = "", fix: str | None = None) -> None:
        """Keeps one problem."""
        self.problems.append(Problem(where=where, found=found, wanted=wanted, why=why, fix=fix))

    def at(self, key: str) -> str:
        """The `$.path` of a key."""
        return f"{self.path_}.{key}"

    def has(self, key: str) -> bool:
        """Whether the key is there with a value."""
        return self.data.get(key) is not None

    def raw(self, key: str) -> object:
        """The value unchecked, None where absent; marks the key as known."""
        self._read.add(key)
        return self.data.get(key)

    def text(self, key: str, *, default: str | None = None, kind: Kind = LINE) -> str:
        """One line of text of a kind."""
        value = self.raw(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            hint = (
                f'write it in quotes: "{value}"'
                if isinstance(value, int | float) and not isinstance(value, bool)
                else None
            )
            self.problem(self.at(key), describe(value), "text" if kind == LINE else kind.wanted, fix=hint)
            return default or ""
        if len(value) > MAX_TEXT or not re.fullmatch(kind.pattern, value):
            self.problem(self.at(key), describe(value), kind.wanted)
            return default or ""
        return value

    def word(self, key: str, *, default: str | None = None) -> str:
        """A name or an address: letters, digits and . _ : / @ - only."""
        return self.text(key, default=default, kind=WORD)

    def path(self, key: str, *, default: str | None = None) -> str:
        """An absolute path without dot segments, blanks or quotes."""
        return self.text(key, default=default, kind=PATH)

    def decimal(self, key: str, *, default: str | None = None) -> str:
        """A non-negative decimal number, kept as text."""
        return self.text(key, default=default, kind=DECIMAL)

    def number(self, key: str, *, default: int | None = None, low: int = 0, high: int = 1 << 40) -> int:
        """A whole number within [low, high]."""
        value = self.raw(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.problem(self.at(key), describe(value), f"a whole number from {low} to {high}")
            return default if default is not None else low
        return value

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """true or false."""
        value = self.raw(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, bool):
            self.problem(self.at(key), describe(value), "true or false")
            return bool(default)
        return value

    def choice(self, key: str, choices: tuple[str, ...], *, default: str | None = None) -> str:
        """One of a closed set."""
        value = self.raw(key)
        if value is None and default is not None:
            return default
        if value not in choices:
            near = nearest(str(value), choices)
            self.problem(
                self.at(key), describe(value), f"one of {', '.join(choices)}", fix=near and f"did you mean {near}?"
            )
            return choices[0]
        return str(value)

    def child(self, key: str) -> "Reader":
        """The mapping below a key."""
        value = self.raw(key)
        return Reader(value if value is not None else None, self.file, self.at(key), self.problems)

    def mapping(self, key: str, *, names: Kind) -> Iterator[tuple[str, "Reader"]]:
        """(name, reader) of each entry of the mapping below a key; all names are of a kind."""
        value = self.raw(key)
        if not isinstance(value, dict) or not value:
            self.problem(self.at(key), describe(value), "a mapping with at least one entry")
            return
        for name, entry in value.items():
            if not isinstance(name, str) or not re.fullmatch(names.pattern, name):
                self.problem(self.at(key), f"the key {describe(name)}", names.wanted)
                continue
            yield name, Reader(entry, self.file, f"{self.at(key)}.{name}", self.problems)

    def done(self) -> None:
        """Reports every key that nobody asked for, with the nearest one that somebody did."""
        for key in self.data:
            if key not in self._read:
                near = nearest(str(key), sorted(self._read))
                wanted = f"one of {', '.join(sorted(self._read))}"
                self.problem(self.at(str(key)), "an unknown key", wanted, fix=near and f"did you mean {near}?")

    def raise_problems(self, what: str) -> None:
        """Raises InputError where any problem is an error."""
        if any(problem.level == "error" for problem in self.problems):
            raise InputError(self.problems, what)
