"""The text after an option becomes a typed value, as the release's parser would convert it, or is refused."""

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from hosts.words import describe
from infra.flags.near import nearest_value
from infra.flags.replaced import VALUES
from infra.flags.shapes import Fault, Reader, within
from infra.flags.table import Flag, FlagTable
from infra.flags.words import Value

SIZE = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT])")
SIZE_SI = re.compile(r"(\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti|k|M|G|T)")
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}
_INT = re.compile(r"\s*[+-]?\d+(_\d+)*\s*")
_DIGITS = 200
"""More digits than a number of these engines has; Python itself refuses to read thousands of them."""
_BARE_SIZE = re.compile(r"\b\d+(?:\.\d+)?[kKmMgGtT]\b")
_STRINGS = re.compile(r'("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a parser does not take a text."""

    found: str
    wanted: str
    why: str = ""
    fix: str | None = None
    better: str | None = None
    """The text that would do, where it is certain."""
    level: str = "error"


def typed(table: FlagTable, flag: Flag, text: str, name: str = "") -> tuple[Value, tuple[Refusal, ...]]:
    """The value of one word, and what is wrong with it."""
    if text in flag.also or ("None" in flag.also and text == ""):
        return (None if text in ("", "None") else text), ()
    kind = flag.kind
    if kind == "lora":
        return _lora(table, text)
    if kind == "json" or (kind == "json-or-text" and re.fullmatch(r"(?s)\s*{.*}\s*", text)):
        return _json(table, flag, text)
    value, refusal = _scalar(kind, text)
    if refusal:
        return text, (refusal,)
    return _held(table, name, flag, value, text)


def _held(table: FlagTable, name: str, flag: Flag, value: Value, text: str) -> tuple[Value, tuple[Refusal, ...]]:
    """Choices and bounds."""
    said = text.lower().replace("-", "_") if flag.folded else str(value)
    if flag.choices and said not in flag.choices:
        better = VALUES.get((table.engine.removesuffix("-kt"), name, text.lower()))
        return value, (not_one_of(text, flag.choices, better if better in flag.choices else None),)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if flag.limits and number and not within(flag.limits, value):  # type: ignore[arg-type]
        return value, (Refusal(found=text, wanted=f"a number {flag.limits}", fix=_ratio(flag, value)),)
    return (said if flag.folded else value), ()


def not_one_of(text: str, names: tuple[str, ...], better: str | None = None) -> Refusal:
    """A text that is none of the names."""
    near = better or nearest_value(text, names)
    return Refusal(
        found=describe(text),
        wanted=f"one of {', '.join(names)}",
        fix=f"did you mean {near}?" if near else None,
        better=near,
    )


def _ratio(flag: Flag, value: object) -> str | None:
    """A percentage where a share is wanted."""
    if flag.kind == "float" and "<=1" in flag.limits and isinstance(value, float) and 2 <= value <= 100:
        return f"write {value / 100:g}"
    return None


def _scalar(kind: str, text: str) -> tuple[Value, Refusal | None]:
    if kind == "int":
        return _int(text)
    if kind == "float":
        try:
            return float(text), None
        except ValueError:
            percent = text.removesuffix("%")
            share = f"{float(percent) / 100:g}" if percent != text and _is_float(percent) else None
            return text, Refusal(
                found=describe(text), wanted="a number", fix=f"write {share}" if share else None, better=share
            )
    if kind.startswith("size"):
        return _size(kind, text)
    return text, None


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _int(text: str) -> tuple[Value, Refusal | None]:
    if _INT.fullmatch(text) and len(text) < _DIGITS:
        return int(text), None
    better = None
    if _is_float(text) and float(text).is_integer():
        better = str(int(float(text)))
    elif re.fullmatch(r"\d{1,12}[kKmM]", text):  # of tokens, and those are counted by 1024
        better = str(int(text[:-1]) * (1024 if text[-1] in "kK" else 1024**2))
    elif re.fullmatch(r"\d{1,3}(,\d{3})+", text):
        better = text.replace(",", "")
    fix = f"write {better}" if better else None
    return text, Refusal(found=describe(text), wanted="a whole number", fix=fix, better=better)


def _size(kind: str, text: str) -> tuple[Value, Refusal | None]:
    bare = text.strip()
    if kind == "size-or-auto" and (bare == "-1" or bare.lower() == "auto"):
        return -1, None
    if _INT.fullmatch(bare) and len(bare) < _DIGITS:
        return int(bare), None
    found = (SIZE_SI if kind == "size-si" else SIZE).fullmatch(bare)
    if found and len(bare) < _DIGITS:
        number, suffix = found.groups()
        binary = suffix.endswith("i") if kind == "size-si" else suffix.isupper()
        base, power = (1024 if binary else 1000), _POWERS[suffix[0].lower()]
        if binary and "." in number:
            decimal = f"{number}{suffix[0].lower() if kind != 'size-si' else suffix[0]}"
            why = f"{suffix} counts in powers of 1024 and takes no decimals"
            return text, Refusal(
                found=describe(text), wanted="a whole number before the suffix", why=why, fix=f"write {decimal}"
            )
        return int(float(number) * base**power) if "." in number else int(number) * base**power, None
    wanted = "a whole number, or one with k, M, G, T (1000) or Ki, Mi, Gi, Ti (1024)"
    if kind != "size-si":
        wanted = "a whole number, or one with k, m, g, t (1000) or K, M, G, T (1024)"
    if kind == "size-or-auto":
        wanted += ", or auto"
    better = _better_size(kind, bare)
    return text, Refusal(found=describe(text), wanted=wanted, fix=f"write {better}" if better else None, better=better)


def _better_size(kind: str, text: str) -> str | None:
    found = re.fullmatch(r"(\d+)\s*([kKmMgGtT])(i?[bB]?)", text)
    if found:
        number, suffix, rest = found.groups()
        binary = "i" in rest.lower() or (suffix.isupper() and suffix == "K")
        if kind == "size-si":
            return f"{number}{'k' if suffix in 'kK' and not binary else suffix.upper()}{'i' if binary else ''}"
        return f"{number}{suffix.upper() if binary else suffix}"
    if re.fullmatch(r"\d{1,3}(,\d{3})+", text):
        return text.replace(",", "")
    return str(int(float(text))) if _is_float(text) and float(text).is_integer() else None


def _lora(table: FlagTable, text: str) -> tuple[Value, tuple[Refusal, ...]]:
    """`name=path`, or a JSON object with name and path."""
    if text == "" or ("=" in text and "," not in text):
        if text.count("=") > 1:
            return text, (Refusal(found=describe(text), wanted="name=path with one =, or a JSON object"),)
        return text, ()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = "" if not text.lstrip().startswith("{") else str(error)
        return text, (Refusal(found=describe(text), wanted='name=path, or {"name": ..., "path": ...}', why=why),)
    keys = set(value) if isinstance(value, dict) else set()
    known = table.classes.get("LoRAModulePath")
    others = set(known.keys) if known else {"name", "path", "base_model_name"}
    if not {"name", "path"} <= keys or keys - others:
        wanted = f"an object with name, path and maybe {', '.join(sorted(others - {'name', 'path'}))}"
        return text, (Refusal(found=describe(value), wanted=wanted),)
    return value, ()


def _json(table: FlagTable, flag: Flag, text: str) -> tuple[Value, tuple[Refusal, ...]]:
    try:
        value = json.loads(_expanded(text) if "json-suffix" in table.traits and flag.shape else text)
    except (ValueError, RecursionError) as error:
        return text, (_broken(text, error),)
    return value, tuple(shape_refusals(table, flag, value))


def shape_refusals(table: FlagTable, flag: Flag, value: Value) -> list[Refusal]:
    """What a JSON value holds that the option's class does not take."""
    faults = list(Reader(classes=table.classes).faults(flag.shape or "any", value))
    mended: object = value
    for fault in faults:
        if fault.better and isinstance(mended, Mapping):
            changed = _mended(mended, fault.path, fault.better, key=fault.found == fault.where)
            mended = mended if changed is None else changed
    better = json.dumps(mended, ensure_ascii=False) if mended != value else None
    return [_of_fault(fault, better) for fault in faults]


def _of_fault(fault: Fault, better: str | None) -> Refusal:
    is_key = fault.found == fault.where
    near = ".".join((*fault.path[:-1], fault.better)) if fault.better and is_key else fault.better
    return Refusal(
        found=fault.found if is_key else f"{fault.where or 'the value'}: {fault.found}",
        wanted=fault.wanted,
        why=fault.why,
        fix=f"did you mean {near}?" if near else None,
        better=better if fault.better else None,
        level="warning" if fault.ignored else "error",
    )


def _mended(value: object, path: tuple[str, ...], better: str, *, key: bool) -> object | None:
    """The value with one key renamed, or one text replaced."""
    if not path:
        return None if key else better
    head, rest = path[0], path[1:]
    if isinstance(value, Mapping) and head in value:
        if key and not rest:
            return {(better if name == head else name): item for name, item in value.items()}
        inner = _mended(value[head], rest, better, key=key)
        return None if inner is None else {**value, head: inner}
    return None


def _expanded(text: str) -> str:
    """Bare numbers with a suffix become plain ones: 80m."""
    parts = _STRINGS.split(text)
    for index in range(0, len(parts), 2):
        parts[index] = _BARE_SIZE.sub(lambda match: str(_size("size", match.group())[0]), parts[index])
    return "".join(parts)


def _broken(text: str, error: Exception) -> Refusal:
    """JSON that does not parse: where, and what it would have to be."""
    at = error.pos if isinstance(error, json.JSONDecodeError) else 0
    place = f"character {at + 1}, {describe(text[at : at + 20])}" if at < len(text) else "its end"
    said = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep"
    value = _python_value(text)
    better = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else None
    why, fix = f"it is no JSON at {place}: {said}", None
    if better:
        fix = f"write '{better}'"
    elif re.fullmatch(r"\{\s*[A-Za-z_]\w*\s*:.*\}?", text, re.DOTALL) or re.search(r"^[{\[][^\"']*[}\]]?$", text):
        fix = "put the whole JSON in single quotes, so that the shell leaves its double quotes in"
    pairs = re.fullmatch(r"(\w+)=([\w.]+)(?:,(\w+)=([\w.]+))*", text)
    if pairs:
        items = dict(item.split("=", 1) for item in text.split(","))
        better = json.dumps({key: int(item) if item.isdigit() else item for key, item in items.items()})
        fix = f"write '{better}'"
    return Refusal(found=describe(text), wanted="valid JSON", why=why, fix=fix, better=better)


def _python_value(text: str) -> object:
    """A Python literal that somebody wrote for JSON, or JSON with a comma too many."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        pass
    quoted = re.sub(r"\btrue\b", "True", re.sub(r"\bfalse\b", "False", re.sub(r"\bnull\b", "None", text)))
    for candidate in (quoted, re.sub(r",\s*([}\]])", r"\1", quoted)):
        try:
            return ast.literal_eval(candidate)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            continue
    return None
