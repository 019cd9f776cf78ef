"""What one release of an engine accepts on its command line: a table of facts that arguments are held against."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hosts.problem import Problem
from hosts.schema import describe, nearest
from infra.deployment import Argument

FOLDER = Path(__file__).parent.parent / "engines/flags"
PLACE = "$.engine.args"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One option. `kind`: switch (no negation), bool (has `--no-x`), int, float, size (64k), text, json, json-or-text.

    `many` is "" for one value, "words" for several after the option, "append" for the option repeated. `registered` are
    names that a plugin of the user's can add to.
    """

    kind: str
    source: str
    aliases: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    registered: tuple[str, ...] = ()
    many: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """An option that this release lacks: the last and first other releases that have it, and what to write instead."""

    last: str = ""
    gone_by: str = ""
    first: str = ""
    use: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagTable:
    """The options of one release, keyed with their dashes."""

    engine: str
    release: str
    source: str
    history: str
    flags: Mapping[str, Flag]
    elsewhere: Mapping[str, Elsewhere]

    def problems(self, args: Mapping[str, Argument], reserved: Mapping[str, str]) -> Iterator[Problem]:
        """Arguments that the release refuses; `reserved` are those that Slipway sets, with what to write instead."""
        plugged = any(name.endswith("-parser-plugin") for name in args)
        for name, value in args.items():
            if name in reserved:
                yield self._problem(name, f"--{name}", "an option that Slipway does not set itself", fix=reserved[name])
            elif f"--{name}" in self.flags:
                yield from self._value_problems(name, self.flags[f"--{name}"], value, plugged)
            else:
                yield self._unknown(name)

    def _unknown(self, name: str) -> Problem:
        release, flag = f"{self.engine} {self.release}", f"--{name}"
        positive = name.removeprefix("no-")
        if name != positive and f"--{positive}" in self.flags:
            return self._problem(name, flag, f"an option of {release}", fix=f"write {positive}: false")
        for known, entry in self.flags.items():
            if name in (alias.lstrip("-") for alias in entry.aliases):
                return self._problem(name, f"the short form of {known}", "the long name", fix=f"write {known[2:]}")
        known_elsewhere = self.elsewhere.get(flag)
        if known_elsewhere:
            return self._problem(
                name,
                flag,
                f"an option of {release}",
                why=_history(known_elsewhere),
                fix=known_elsewhere.use or None,
                source=self.history,
            )
        near = nearest(flag, list(self.flags))
        fix = f"did you mean {near[2:]}?" if near else None
        return self._problem(name, flag, f"an option of {release}", why="its parser exits on others", fix=fix)

    def _value_problems(self, name: str, flag: Flag, value: Argument, plugged: bool) -> Iterator[Problem]:
        wanted = _wanted(flag, value)
        if wanted:
            yield self._problem(name, describe(value), wanted, source=flag.source)
            return
        valid = flag.choices or (() if plugged else flag.registered)
        for item in value if flag.many and isinstance(value, list | tuple) else (value,):
            if valid and str(item) not in valid:
                near = nearest(str(item), valid)
                yield self._problem(
                    name,
                    describe(item),
                    f"one of {', '.join(valid)}",
                    fix=f"did you mean {near}?" if near else None,
                    source=flag.source,
                )

    def _problem(
        self, name: str, found: str, wanted: str, *, why: str = "", fix: str | None = None, source: str = ""
    ) -> Problem:
        return Problem(
            where=f"{PLACE}.{name}",
            token=f"--{name}",
            found=found,
            wanted=wanted,
            why=why,
            fix=fix,
            rule="flag",
            source=source or self.source,
        )


def render(flag: Flag, name: str, value: Argument) -> tuple[str, ...]:
    """The words of one option; a value that begins with a dash stays attached to it."""
    option = f"--{name}"
    if isinstance(value, bool):
        if value:
            return (option,)
        return (f"--no-{name}",) if flag.kind == "bool" else ()
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


def _word(value: Argument) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _wanted(flag: Flag, value: Argument) -> str:
    """What the option takes, where the value is something else; "" where it fits."""
    number = str(value).removeprefix("-")
    wanted = ""
    if flag.kind in ("switch", "bool"):
        wanted = "" if isinstance(value, bool) else "true or false"
    elif isinstance(value, bool):
        wanted = f"a value ({flag.kind}), not true or false"
    elif isinstance(value, Mapping):
        wanted = "" if flag.kind.startswith("json") else f"a value ({flag.kind}), not a mapping"
    elif isinstance(value, list | tuple):
        wanted = "" if flag.many or flag.kind.startswith("json") else "one value"
    elif flag.kind == "int" and not number.isdigit():
        wanted = "a whole number"
    elif flag.kind == "float" and not number.replace(".", "", 1).isdigit():
        wanted = "a number"
    return wanted


def _history(entry: Elsewhere) -> str:
    parts = []
    if entry.last:
        parts.append(f"the last release read that has it is {entry.last}, {entry.gone_by} has not")
    if entry.first:
        parts.append(f"it came after this release; {entry.first} has it")
    return "; ".join(parts) or "no release that was read has it"


def releases(engine: str, folder: Path = FOLDER) -> tuple[str, ...]:
    """The releases of an engine that have a table."""
    return tuple(sorted(path.stem.removeprefix(f"{engine}-") for path in folder.glob(f"{engine}-[0-9]*.json")))


@cache
def load(engine: str, release: str, folder: Path = FOLDER) -> FlagTable:
    """The table of a release. Raises FileNotFoundError."""
    data = json.loads((folder / f"{engine}-{release}.json").read_text(encoding="utf-8"))
    return FlagTable(
        engine=data["engine"],
        release=data["release"],
        source=data["source"],
        history=data["history"],
        flags={
            name: Flag(
                kind=entry["kind"],
                source=entry["source"],
                aliases=tuple(entry.get("aliases", ())),
                choices=tuple(entry.get("choices", ())),
                registered=tuple(entry.get("registered", ())),
                many=entry.get("many", ""),
            )
            for name, entry in data["flags"].items()
        },
        elsewhere={name: Elsewhere(**entry) for name, entry in data["elsewhere"].items()},
    )
