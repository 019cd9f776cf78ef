"""Command lines by a release's flag table: read as argparse would (SGLang) or as click would (trtllm-serve)."""

import argparse
import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Value = str | int | float | bool | list[Any] | dict[str, Any] | None
Values = dict[str, Value]
"""What was given, or its default, by the option's canonical name."""
SIZES = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
COUNTS = {"words": "+", "any": "*", "maybe": "?"}


class Refused(Exception):
    """What click says of a command line, after `Error: `."""


def load(name: str) -> dict[str, Any]:
    """The table that lies beside this module."""
    table: dict[str, Any] = json.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))
    return table


def human_readable_int(text: str) -> int:
    """SGLang's sizes: 4096, 64k, 64Ki; ValueError for others."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti|k|M|G|T)", text.strip())
    if match is None:
        return int(text)
    number, unit = match.groups()
    return int(number) * SIZES[unit] if "i" in unit else int(float(number) * SIZES[unit])


CONVERTERS: Mapping[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "size-si": human_readable_int,
    "json": json.loads,
}


def parser_of(table: Mapping[str, Any], prog: str, *, positional: bool = False) -> argparse.ArgumentParser:
    """The argparse parser that a table describes; abbreviations are taken as argparse takes them."""
    parser = argparse.ArgumentParser(prog=prog, description=f"A stand-in for {table['engine']} {table['release']}.")
    if positional:
        parser.add_argument("model_path", nargs="?")
    for name, flag in table["flags"].items():
        names = (name, *flag.get("aliases", ()))
        if flag["kind"] in ("switch", "bool"):
            parser.add_argument(*names, action="store_true", dest=name)
            for negative in flag.get("negative", ()):
                parser.add_argument(negative, action="store_false", dest=name)
            continue
        many = flag.get("many", "")
        keywords: dict[str, Any] = {"type": CONVERTERS.get(flag["kind"], str), "dest": name}
        if flag.get("choices"):
            keywords["choices"] = [*flag["choices"], *flag.get("also", ())]
        if many == "append":
            keywords["action"] = "append"
        elif many:
            keywords["nargs"] = COUNTS.get(many) or int(many)
        elif flag["kind"] in ("int", "text"):
            keywords["default"] = flag.get("default")
        parser.add_argument(*names, required=flag.get("required", False) and not positional, **keywords)
    return parser


def read_click(table: Mapping[str, Any], words: Sequence[str]) -> tuple[Values, list[str]]:
    """Options and positional words. Raises Refused with click's own text: whole names only, options anywhere."""
    given, positional = _split(table["flags"], words)
    values = {name: _clicked(name, flag, given.get(name)) for name, flag in table["flags"].items()}
    wanted = list(table["positionals"])
    if len(positional) < len(wanted):
        raise Refused(f"Missing argument '{wanted[len(positional)].upper()}'.")
    if extra := positional[len(wanted) :]:
        raise Refused(f"Got unexpected extra argument{'s' if extra[1:] else ''} ({' '.join(extra)})")
    return values, positional


def _split(flags: Mapping[str, Any], words: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The texts of each option that was given, and the words that belong to none. Raises Refused."""
    spelled = {spelling: name for name, flag in flags.items() for spelling in (name, *flag.get("aliases", ()))}
    given: dict[str, list[str]] = {}
    positional: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return given, [*positional, *rest]
        if not word.startswith("-") or word == "-":
            positional.append(word)
            continue
        option, equals, attached = word.partition("=")
        if option not in spelled:
            raise Refused(_no_such_option(option, spelled))
        is_switch = flags[spelled[option]]["kind"] == "switch"
        if is_switch and equals:
            raise Refused(f"Option '{option}' does not take a value.")
        if not (is_switch or equals or rest):
            raise Refused(f"Option '{option}' requires an argument.")
        given.setdefault(spelled[option], []).append(attached if is_switch or equals else rest.pop(0))
    return given, positional


def _no_such_option(option: str, spelled: Mapping[str, str]) -> str:
    if not option.startswith("--"):
        return f"No such option: {option[:2]}"
    near = sorted(difflib.get_close_matches(option, spelled))
    said = {0: "", 1: f" Did you mean {''.join(near)}?"}.get(len(near), f" (Possible options: {', '.join(near)})")
    return f"No such option: {option}{said}"


def _clicked(name: str, flag: Mapping[str, Any], texts: list[str] | None) -> Value:
    if flag["kind"] == "switch":
        return texts is not None
    if texts is None:
        default = flag.get("default")
        return None if default is None else _converted(name, flag, default)
    if flag.get("many") == "append":
        return [_converted(name, flag, text) for text in texts]
    return _converted(name, flag, texts[-1])


def _converted(name: str, flag: Mapping[str, Any], text: str) -> Value:
    what = " / ".join(f"'{spelling}'" for spelling in (name, *flag.get("aliases", ())))
    if flag.get("choices") and text not in flag["choices"]:
        choices = ", ".join(f"'{choice}'" for choice in flag["choices"])
        raise Refused(f"Invalid value for {what}: '{text}' is not one of {choices}.")
    if flag["kind"] not in ("int", "float"):
        return text
    try:
        return int(text) if flag["kind"] == "int" else float(text)
    except ValueError:
        kind = "integer" if flag["kind"] == "int" else "float"
        raise Refused(f"Invalid value for {what}: '{text}' is not a valid {kind}.") from None
