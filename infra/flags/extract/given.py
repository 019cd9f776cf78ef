"""Tables that were made elsewhere, of packages that no index has, in the form of ours."""

import re
from collections.abc import Mapping
from typing import Any

from infra.flags.table import Shape

_KINDS = {"int": "int", "float": "float", "bool": "switch", "json.loads": "json"}
_PLAIN = {
    "int": "int",
    "float": "float",
    "str": "str",
    "bool": "bool",
    "Path": "str",
    "None": "none",
}


def converted(data: Mapping[str, Any], *, parser: str, release: str, engine: str) -> dict[str, Any]:
    """The table of a given one; its source field stays."""
    flags = {name: _flag(entry) for name, entry in sorted(data["flags"].items())}
    table: dict[str, Any] = {
        "engine": engine,
        "release": release,
        "command": data["command"],
        "source": data["source"],
        "parser": parser,
        "positionals": {"model": "1"} if engine == "trtllm" else {},
        "traits": ["serve-optional"] if engine == "trtllm" else [],
    }
    if "yaml_keys" in data:
        table["root"] = data["yaml_root_class"]
    table["flags"] = flags
    if "yaml_keys" in data:
        known = data["nested_config_classes"]
        table["classes"] = {
            data["yaml_root_class"]: _class(data["yaml_keys"], known),
            **{name: _class(entry["fields"], known) for name, entry in sorted(known.items())},
        }
    return table


def _flag(entry: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"kind": _KINDS.get(entry["type"] or "str", "text")}
    if entry.get("aliases"):
        made["aliases"] = [name for name in entry["aliases"] if not name.startswith("--no-")]
        negative = [name for name in entry["aliases"] if name.startswith("--no-")]
        if negative:
            made.update(kind="bool", negative=negative)
        if not made["aliases"]:
            del made["aliases"]
    if entry.get("multiple"):
        made["many"] = "append"
    if entry.get("nargs"):
        made["many"] = {"+": "words", "*": "any", "?": "maybe"}[entry["nargs"]]
    if isinstance(entry.get("choices"), list):
        made["choices"] = [str(one) for one in entry["choices"]]
    default = entry.get("default")
    if default is not None and not re.search(r"[.(]\D", str(default)):
        made["default"] = str(default).lower() if isinstance(default, bool) else str(default)
    if entry.get("required"):
        made["required"] = True
    if entry.get("status") == "deprecated":
        made["deprecated"] = ""
    made["source"] = entry.get("source") or ""
    return made


def _class(fields: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for name, entry in fields.items():
        kind = shape_of(entry.get("type") or "Any", known)
        default = entry.get("default")
        plain = default is not None and not re.search(r"[.(]\D|\(\)", str(default))
        keys[entry.get("alias") or name] = {"shape": kind, "default": str(default)} if plain else kind
    return {"keys": keys, "closed": True}


def shape_of(text: str, known: Mapping[str, Any]) -> Shape:  # noqa: PLR0911 - one a form of annotation
    """The shape of an annotation that is given as text."""
    text = text.strip()
    inner = re.fullmatch(r"(\w+)\[(.*)\]", text, re.DOTALL)
    if inner is None:
        plain: Shape = {"dict": "any"} if text == "dict" else _PLAIN.get(text, "any")
        return {"class": text} if text in known else plain
    name, parts = inner[1], _split(inner[2])
    if name == "Optional":
        return _union([shape_of(parts[0], known), "none"])
    if name == "Union":
        return _union([shape_of(part, known) for part in parts])
    if name == "Literal":
        return {"one of": [part.strip("'\"") for part in parts]}
    if name in ("List", "list"):
        return {"list": shape_of(parts[0], known)}
    if name in ("Dict", "dict"):
        return {"dict": shape_of(parts[-1], known)}
    return "any"


def _union(shapes: list[Shape]) -> Shape:
    flat = [one for shape in shapes for one in (shape if isinstance(shape, list) else [shape])]
    return "any" if "any" in flat else flat


def _split(text: str) -> list[str]:
    """The parts between the commas of the outermost level."""
    parts, depth, start = [], 0, 0
    for index, letter in enumerate(text):
        depth += (letter in "[(") - (letter in "])")
        if letter == "," and depth == 0:
            parts.append(text[start:index].strip())
            start = index + 1
    return [*parts, text[start:].strip()]
