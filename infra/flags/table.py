"""What one release of an engine accepts on its command line: a table of facts that arguments are held against."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hosts.problem import Problem

if TYPE_CHECKING:
    from infra.deployment import Argument

FOLDER = Path(__file__).parent.parent / "engines/flags"

Parser = Literal["flexible", "argparse", "click", "click-open", "typer"]
"""Whose rules hold: vLLM's FlexibleArgumentParser, argparse, click, click that passes unknown options on, typer."""

Shape = str | list[Any] | dict[str, Any]
"""A nested value's type: "int", ["int", "none"], {"list": "int"}, {"one of": [...]}, {"class": "EPLBConfig"};
{"made": "PassConfig"} is a class that code makes of a mapping, and that takes other values too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One option.

    `kind`: switch (no negation), bool (has negative names), int, float, size (64k), size-or-auto, size-si (64Ki),
    text, json, json-or-text, lora (name=path or JSON), any. `many`: "" for one value, "words" for one or more, "any"
    for none or more, "maybe" for none or one, a number for that many, "append" for the option repeated.
    """

    kind: str
    source: str = ""
    aliases: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    """Names that turn it off: `--no-x`."""
    choices: tuple[str, ...] = ()
    """The values that the parser takes."""
    registered: tuple[str, ...] = ()
    """Names that the engine knows, and that a plugin of the user's can add to."""
    also: tuple[str, ...] = ()
    """Words that are taken beside the kind's: None, auto."""
    many: str = ""
    default: str | None = None
    required: bool = False
    limits: str = ""
    """Bounds of a number: ">=1", ">0 <=1"."""
    shape: Shape = ""
    """What JSON must hold; "" where that is not known."""
    folded: bool = False
    """Whether case and dashes of a choice are folded before it is compared."""
    deprecated: str | None = None
    """What to write instead, "" where nothing; None for an option in good standing."""
    refuses: str = ""
    """What the parser says when it still knows the option only to refuse it."""
    group: str = ""
    """Of the options of one group only one may be given."""

    @property
    def takes_value(self) -> bool:
        """Whether a word follows it."""
        return self.kind not in ("switch", "bool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One field of a nested configuration class."""

    shape: Shape
    default: str | None = None
    limits: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nested:
    """A nested configuration class."""

    keys: Mapping[str, Key]
    closed: bool = True
    """Whether the engine refuses keys that are none of its own, instead of dropping them."""
    open: bool = False
    """Whether code of the class decides about such keys, so that nobody can say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagTable:
    """The options of one release, keyed with their dashes."""

    engine: str
    release: str
    command: str
    source: str
    parser: Parser
    flags: Mapping[str, Flag]
    positionals: tuple[tuple[str, str], ...] = ()
    """Names and how many: "1", "?", "*"."""
    traits: frozenset[str] = frozenset()
    """Rules of this release's parser that others have not; see infra/flags/extract."""
    classes: Mapping[str, Nested] = field(default_factory=dict)
    root: str = ""
    """The class of the engine's own YAML file, where there is one."""
    variables: frozenset[str] = frozenset()
    """The environment variables that the release reads; empty where that is not known."""
    spellings: Mapping[str, str] = field(default_factory=dict)
    """Every name that the parser takes, with the canonical one."""

    def problems(self, args: "Mapping[str, Argument]", reserved: Mapping[str, str]) -> Iterator[Problem]:
        """Arguments of a stack file that the release refuses; `reserved` are those that Slipway sets."""
        from infra.flags.arguments import problems  # noqa: PLC0415 - that module stands on this one

        return problems(self, args, reserved)


def render(flag: Flag, name: str, value: "Argument") -> tuple[str, ...]:
    """The words of one option; a value that begins with a dash stays attached to it."""
    option = f"--{name}"
    if isinstance(value, bool) and not flag.takes_value:
        if value:
            return (option,)
        return flag.negative[:1]
    if isinstance(value, Mapping) or (flag.kind.startswith("json") and not isinstance(value, str)):
        return (option, json.dumps(value, ensure_ascii=False))
    if isinstance(value, Sequence) and not isinstance(value, str):
        words = [_word(item) for item in value]
        if flag.many == "append":
            return tuple(word for item in words for word in _pair(option, item))
        return (option, *words)
    return _pair(option, _word(value))


def _pair(option: str, word: str) -> tuple[str, ...]:
    return (f"{option}={word}",) if word.startswith("-") else (option, word)


def _word(value: "Argument") -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def releases(engine: str, folder: Path = FOLDER) -> tuple[str, ...]:
    """The releases of an engine that have a table, oldest first."""
    found = [path.stem.removeprefix(f"{engine}-") for path in folder.glob(f"{engine}-*.json")]
    return tuple(sorted((name for name in found if re.match(r"\d|main", name)), key=age))


def age(release: str) -> tuple[bool, list[tuple[int, int, str]]]:
    """What releases are sorted by: 0.5.9 before 0.5.10.post1, a candidate before its release, a branch after all."""
    order = {"dev": -4, "rc": -1, "post": 1}
    parts = re.findall(r"\d+|[a-z]+", release)
    numbers = [(2, int(part), "") if part.isdigit() else (order.get(part, 1), 0, part) for part in parts]
    return release.startswith("main"), [*numbers, (0, 0, "")]


def newest(engine: str, folder: Path = FOLDER) -> str:
    """The newest release that has a table, "" where there is none."""
    return (releases(engine, folder) or ("",))[-1]


@cache
def load(engine: str, release: str, folder: Path = FOLDER) -> FlagTable:
    """The table of a release. Raises FileNotFoundError."""
    return from_json(json.loads((folder / f"{engine}-{release}.json").read_text(encoding="utf-8")))


def from_json(data: Mapping[str, Any]) -> FlagTable:
    """A table from the file's content."""
    flags = {name: _flag(entry) for name, entry in data["flags"].items()}
    return FlagTable(
        engine=data["engine"],
        release=data["release"],
        command=data["command"],
        source=data["source"],
        parser=data["parser"],
        flags=flags,
        positionals=tuple((name, how) for name, how in data.get("positionals", {}).items()),
        traits=frozenset(data.get("traits", ())),
        classes={name: _nested(entry) for name, entry in data.get("classes", {}).items()},
        root=data.get("root", ""),
        variables=frozenset(data.get("variables", "").split()),
        spellings=_spellings(flags),
    )


def _flag(entry: Mapping[str, Any]) -> Flag:
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) and name != "shape" else value for name, value in entry.items()
    }
    return Flag(**fields)


def _nested(entry: Mapping[str, Any]) -> Nested:
    keys = {
        name: Key(**key) if isinstance(key, dict) and "shape" in key else Key(shape=key)
        for name, key in entry["keys"].items()
    }
    return Nested(keys=keys, closed=entry.get("closed", True), open=entry.get("open", False))


def _spellings(flags: Mapping[str, Flag]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name, entry in flags.items():
        found[name] = name
        for other in (*entry.aliases, *entry.negative):
            found.setdefault(other, name)
    return found
