"""The check against Python's own argparse: a parser is built from each table, and both read the same command lines."""

import argparse
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NoReturn

import pytest

from infra.flags.check import check
from infra.flags.table import Flag, FlagTable, load
from infra.flags.values import typed
from infra.flags.words import Token

TABLES = (
    ("vllm", "0.10.0"), ("vllm", "0.19.1"), ("vllm", "0.33.0"), ("sglang", "0.4.9.post6"), ("sglang", "0.5.9"),
    ("sglang", "0.5.23"), ("sglang-kt", "0.7.2"), ("vllm-bench-serve", "0.19.1"), ("sglang-router", "0.3.2"),
    ("huggingface-cli", "0.36.2"), ("ktransformers", "0.3.2"),
)  # fmt: skip
LINES = 250


class Refused(Exception):
    """The parser exits."""


class Parser(argparse.ArgumentParser):
    """One that raises instead of exiting."""

    def error(self, message: str) -> NoReturn:
        raise Refused(message)


def converter(table: FlagTable, flag: Flag) -> Callable[[str], object]:
    """What argparse converts a word with."""

    def convert(text: str) -> object:
        value, refusals = typed(table, replace(flag, choices=()), text)
        if refusals:
            raise argparse.ArgumentTypeError(refusals[0].wanted)
        return str(value) if value is not None else None

    plain: dict[str, Callable[[str], object]] = {"int": int, "float": float, "text": str, "any": str}
    if not flag.also and not flag.folded and flag.kind in plain:
        kind = plain[flag.kind]
        return lambda text: str(kind(text))
    return convert


def parser_of(table: FlagTable) -> Parser:
    """The argparse parser that a table describes."""
    parser = Parser(prog="x")
    for name, how in table.positionals:
        parser.add_argument(name, nargs=None if how == "1" else how)
    for name, flag in table.flags.items():
        names = (name, *flag.aliases, *flag.negative)
        if not flag.takes_value:
            parser.add_argument(*names, action="store_true", dest=name)
            continue
        keywords: dict[str, object] = {"type": converter(table, flag), "required": flag.required, "dest": name}
        if flag.choices:
            keywords["choices"] = [*flag.choices, None] if flag.also else list(flag.choices)
        if flag.many == "append":
            keywords["action"] = "append"
        elif flag.many:
            nargs = {"words": "+", "any": "*", "maybe": "?"}
            keywords["nargs"] = nargs.get(flag.many) or int(flag.many)
        parser.add_argument(*names, **keywords)  # type: ignore[arg-type]
    return parser


def plain(table: FlagTable) -> FlagTable:
    """A table without what the engine checks behind its parser."""
    flags = {
        name: replace(flag, limits="", shape="", registered=(), deprecated=None, refuses="", group="")
        for name, flag in table.flags.items()
    }
    return replace(table, flags=flags, traits=frozenset())


def word(rng: random.Random, flag: Flag) -> str:
    """A value that fits more often than not."""
    if flag.choices and rng.random() < 0.8:
        return rng.choice(flag.choices)
    if flag.kind == "json" and rng.random() < 0.8:
        return json.dumps({"a": [1, 2.5, True], "b": "x y"})
    pool = [
        "8",
        "0",
        "-1",
        "-0.5",
        "64k",
        "1.5K",
        "auto",
        "None",
        "text",
        "a b",
        "-x y",
        "",
        "1_000",
        "1e3",
        "x=y",
        "true",
    ]
    pool += ["-", "--flag", "-9x", "{", "{}", "[1]", "nan", " 7", "+3", "0x10"]
    return rng.choice(
        [*pool, "4", "16", "3.5"] if flag.kind in ("int", "float") or flag.kind.startswith("size") else pool
    )


def line(rng: random.Random, table: FlagTable) -> list[str]:  # noqa: C901 - one branch a kind of mistake
    """A command line: mostly sensible, sometimes abbreviated, misspelt, attached, or with words too many."""
    names = list(table.spellings)
    words: list[str] = []
    for _ in range(rng.randint(0, 5)):
        name = rng.choice(names)
        flag = table.flags[table.spellings[name]]
        luck = rng.random()
        if luck < 0.25 and len(name) > 6:
            name = name[: rng.randint(5, len(name))]
        elif luck < 0.3:
            name = name + rng.choice(("x", "s", "-size"))
        count = {"words": rng.randint(0, 3), "any": rng.randint(0, 2), "maybe": rng.randint(0, 1)}.get(flag.many, 1)
        values = [word(rng, flag) for _ in range(count)] if flag.takes_value else []
        if values and rng.random() < 0.2:
            words += [f"{name}={values[0]}", *values[1:]]
        elif not values and rng.random() < 0.08:
            words += [f"{name}=true"]
        elif rng.random() < 0.05:
            words += [name]
        else:
            words += [name, *values]
        if rng.random() < 0.06:
            words.append(rng.choice(("stray", "-q8", "-tp8", "--", "MODEL", "-1")))
    if rng.random() < 0.5:
        words.insert(0, "MODEL")
    for name, flag in table.flags.items():
        if flag.required and rng.random() < 0.9:
            words += [name, "1"]
    return words


def refused_by_argparse(parser: Parser, words: Sequence[str]) -> str:
    """The message, "" where the line is taken."""
    try:
        parser.parse_args(list(words))
    except Refused as refusal:
        return str(refusal)
    return ""


@pytest.mark.parametrize(("engine", "release"), TABLES)
def test_what_argparse_refuses_is_found_and_nothing_else(engine: str, release: str) -> None:
    table = plain(load(engine, release))
    bare = replace(table, parser="argparse")
    parser = parser_of(bare)
    rng = random.Random(f"{engine} {release}")  # noqa: S311 - no secret
    different = []
    for _ in range(LINES):
        words = line(rng, bare)
        if words[-1:] == ["--"] or any(
            one in ("-h", "--help") or ("--help".startswith(one.partition("=")[0]) and len(one) > 2) for one in words
        ):
            continue
        said = refused_by_argparse(parser, words)
        errors = [
            one.problem
            for one in check(bare, [Token(text=one) for one in words]).findings
            if one.problem.level == "error"
        ]
        if bool(said) != bool(errors):
            different.append((words, said, [str(one) for one in errors]))
    assert not different, different[:5]


def flexible(words: Sequence[str], *, optimization: bool) -> list[str]:
    """What vLLM's parser makes of the words before argparse sees them, written anew."""
    seen: list[str] = []
    for index, one in enumerate(words):
        following = words[index + 1] if index + 1 < len(words) else ""
        if one.startswith("--"):
            name, equals, value = one.partition("=")
            first, dot, rest = name.partition(".")
            seen.append(first.replace("_", "-") + dot + rest + equals + value)
        elif one == "-O" and following in ("0", "1", "2", "3"):
            seen.append("--optimization-level" if optimization else "-O.level")
        elif one.startswith("-O") and one != "-O" and (optimization or one[2] != "."):
            level = one[3:] if one[2] == "=" else one[2:]
            seen += ["--optimization-level", level] if optimization else [f"-O.level={level}"]
        else:
            seen.append(one)
    trees: dict[str, dict[str, object]] = {}
    kept: list[str] = []
    waiting = iter(seen)
    for one in waiting:
        name, equals, value = one.partition("=")
        if not (one.startswith("-") and "." in name):
            kept.append(one)
            continue
        text = value if equals else next(waiting, None)
        if text is None:
            raise Refused("no value")
        option, *keys = name.removesuffix("+").split(".")
        tree = trees.setdefault(option, {})
        for key in keys[:-1]:
            tree = tree.setdefault(key, {})  # type: ignore[assignment]
        tree[keys[-1]] = text
    return [*kept, *(word for option, tree in trees.items() for word in (option, json.dumps(tree)))]


@pytest.mark.parametrize("release", ["0.10.0", "0.19.1"])
def test_vllms_own_parser(release: str) -> None:
    loaded = load("vllm", release)
    optimization = "O-optimization" in loaded.traits
    table = replace(plain(loaded), traits=loaded.traits & {"dotted", "O-optimization", "O-level"})
    parser = parser_of(table)
    rng = random.Random(f"flexible {release}")  # noqa: S311 - no secret
    objects = [name for name, flag in table.flags.items() if flag.kind == "json"]
    different = []
    for _ in range(LINES):
        words = [
            one.replace("-", "_").replace("__", "--", 1) if rng.random() < 0.2 else one for one in line(rng, table)
        ]
        for _ in range(rng.randint(0, 2)):
            dotted = f"{rng.choice(objects)}.{rng.choice(('a', 'b_c', 'd.e'))}"
            words += rng.choice(
                ([dotted, "1"], [f"{dotted}=x"], [f"{dotted}+", "x,y"], [dotted], ["-O3"], ["-O", "2"], ["-O=1"])
            )
        unclear = any(one.startswith("-") and not one.startswith("--") and "." in one for one in words)
        if (
            unclear
            or words[-1:] == ["--"]
            or any("--help".startswith(one.partition("=")[0]) and len(one) > 2 for one in words)
        ):
            continue
        try:
            said = refused_by_argparse(parser, flexible(words, optimization=optimization))
        except Refused as refusal:
            said = str(refusal)
        errors = [
            one.problem
            for one in check(table, [Token(text=one) for one in words]).findings
            if one.problem.level == "error"
        ]
        if bool(said) != bool(errors):
            different.append((words, said, [str(one) for one in errors]))
    assert not different, different[:5]
