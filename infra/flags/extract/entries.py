"""Calls of `add_argument` become the entries of a flag table."""

import ast
import re
from collections.abc import Iterable, Mapping

from infra.flags.extract.evaluate import Evaluator
from infra.flags.extract.kwargs import NOTE
from infra.flags.extract.records import shown
from infra.flags.extract.values import Added, ClassRef, FunctionRef, Known, Member, Opaque

_KINDS = {
    "int": "int",
    "float": "float",
    "str": "text",
    "json.loads": "json",
    "parse_type(json.loads)": "json",
    "human_readable_int": "size",
    "human_readable_int_or_auto": "size-or-auto",
    "union_dict_and_str": "json-or-text",
    "json_list_type": "json",
    "nullable_str": "text",
    "dataclass": "json",
    "bool": "text",
    "Path": "text",
    "parse_reasoning_parser": "text",
}
_DEPRECATED = re.compile(r"\W*(deprecated\b|--[\w-]+ is deprecated|\w+ \(--[\w-]+\) is deprecated)", re.IGNORECASE)
_ENABLE = {"--enable-": "--disable-", "--disable-": "--enable-"}


def entries(
    interpreter: Evaluator, added: Iterable[Added], *, pairs: bool = False, size: str = "size"
) -> tuple[dict[str, dict[str, Known]], dict[str, str]]:
    """Flags and positionals; `pairs`: `--disable-x` turns `--enable-x` off, `size`: what suffixes mean."""
    flags: dict[str, dict[str, Known]] = {}
    positionals: dict[str, str] = {}
    for one in added:
        if not one.names:
            continue
        if not one.names[0].startswith("-"):
            positionals[one.names[0]] = str(one.keywords.get("nargs") or "1")
            continue
        longs = [name for name in one.names if name.startswith("--")]
        name = longs[0] if longs else one.names[0]
        entry = _entry(interpreter, one, pairs=pairs, size=size)
        aliases = [other for other in one.names if other != name]
        flags[name] = {
            "kind": entry.pop("kind"),
            **({"aliases": aliases} if aliases else {}),
            **entry,
            "source": one.source,
        }
    return dict(sorted(flags.items())), positionals


def _entry(interpreter: Evaluator, added: Added, *, pairs: bool, size: str) -> dict[str, Known]:
    keywords = added.keywords
    note: Mapping[str, Known] = keywords.get(NOTE) or {}
    entry: dict[str, Known] = _action(interpreter, added, pairs=pairs)
    if "kind" not in entry or entry["kind"] == "lora":
        entry = {**_typed(keywords, note, size), **entry}
    default = shown(_plain(keywords.get("default")))
    if default is not None and len(default) < 80:
        entry["default"] = default
    if keywords.get("required") is True:
        entry["required"] = True
    instead = _deprecation(keywords)
    if instead is not None:
        entry.setdefault("deprecated", instead)
    if note.get("limits") and entry["kind"] in ("int", "float", "size", "size-or-auto"):
        entry["limits"] = note["limits"]
    if added.group:
        entry["group"] = added.group
    return entry


def _deprecation(keywords: Mapping[str, Known]) -> str | None:
    """What an option that is marked so, or whose help begins so, names instead; None for one in good standing."""
    text = keywords.get("help")
    told = text if isinstance(text, str) and _DEPRECATED.match(text) else ""
    if not told and keywords.get("deprecated") is not True:
        return None
    found = re.search(r"[Uu]se (--[A-Za-z0-9_.-]*[A-Za-z0-9](?:=\w+)?)", told)
    return found[1] if found else ""


def _action(interpreter: Evaluator, added: Added, *, pairs: bool) -> dict[str, Known]:  # noqa: PLR0911 - one a kind
    action = added.keywords.get("action")
    text = repr(action) if not isinstance(action, str) else action
    if action is None or text == "store":
        return {}
    if text in ("store_true", "store_false", "store_const", "count", "help", "version"):
        return {"kind": "switch"}
    if "BooleanOptionalAction" in text or text.endswith("StoreBooleanAction"):
        return {"kind": "bool", "negative": _negatives(added.names, pairs=pairs)}
    if text in ("append", "extend"):
        return {"many": "append"} if added.keywords.get("nargs") is None else {}
    if "LoRAParserAction" in text:
        return {"kind": "lora"}
    if isinstance(action, ClassRef):
        return _custom(interpreter, action, added)
    return {}


def _negatives(names: Iterable[str], *, pairs: bool) -> list[str]:
    longs = [name for name in names if name.startswith("--")]
    found = [f"--no-{name[2:]}" for name in longs]
    if pairs:
        found += [
            other + name.removeprefix(prefix)
            for name in longs
            for prefix, other in _ENABLE.items()
            if name.startswith(prefix)
        ]
    return found


def _custom(interpreter: Evaluator, action: ClassRef, added: Added) -> dict[str, Known]:
    """An action class of the package: whether it takes a value, what it says instead, what it refuses."""
    keywords = added.keywords
    entry: dict[str, Known] = {}
    init = interpreter.method(action, "__init__")
    nargs = keywords.get("nargs", _parameter(init, "nargs"))
    if nargs == 0:
        entry["kind"] = "switch"
    if "Deprecated" in action.node.name:
        entry["deprecated"] = keywords["new_flag"] if isinstance(keywords.get("new_flag"), str) else ""
        if isinstance(keywords.get("error_message"), str):
            entry["refuses"] = keywords["error_message"]
    call = interpreter.method(action, "__call__")
    always = call is not None and any(isinstance(one, ast.Raise) for one in call.node.body)
    if always and call is not None:
        entry["refuses"] = _message(call.node)
    return entry


def _message(node: ast.FunctionDef) -> str:
    texts = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return max(texts, key=len, default="it is refused")


def _parameter(function: FunctionRef | None, name: str) -> Known:
    if function is None:
        return None
    spec = function.node.args
    names = [one.arg for one in spec.args]
    defaults = dict(zip(reversed(names), reversed(spec.defaults), strict=False))
    node = defaults.get(name)
    return node.value if isinstance(node, ast.Constant) else None


def _typed(keywords: Mapping[str, Known], note: Mapping[str, Known], size: str) -> dict[str, Known]:  # noqa: C901
    entry: dict[str, Known] = {}
    converter = keywords.get("type")
    text = "str" if converter is None else converter.text if isinstance(converter, Opaque) else repr(converter)
    if text.startswith("optional_type("):
        entry["also"] = ["None"]
        text = text.removeprefix("optional_type(").removesuffix(")")
    if keywords.get("optional") or text == "nullable_str":
        entry["also"] = ["None"]
    if text == "parse_reasoning_parser":
        entry["also"] = [*entry.get("also", ()), "none", "None", "NONE"]
    kind = _KINDS.get(text.rpartition(".")[2] if text != "json.loads" else text, "any")
    if text.startswith("lambda") and "lower()" in text and "replace('-', '_')" in text:
        kind, entry["folded"] = "text", True
    if kind == "size":
        kind = size
    entry = {"kind": kind, **entry}
    if kind in ("json", "json-or-text") and note.get("shape"):
        entry["shape"] = note["shape"]
    if keywords.get("record") is not None:
        entry["shape"] = {"class": keywords["record"].node.name}
        if keywords.get("from_cli"):
            entry["also"] = [*entry.get("also", ()), "0", "1", "2", "3"]
    nargs = keywords.get("nargs")
    if nargs is not None and not isinstance(nargs, Opaque):
        entry["many"] = {"+": "words", "*": "any", "?": "maybe"}.get(str(nargs), str(nargs))
    known = _choices(keywords.get("metavar")) or list(note.get("names") or ())
    if known and kind == "text":
        entry["registered"] = known
    choices = _choices(keywords.get("choices"))
    if choices and kind != "any":
        entry["choices"] = choices
    return entry


def _choices(value: Known) -> list[str]:
    items = list(value) if isinstance(value, list | tuple | set | dict | frozenset) else []
    if type(value).__name__.startswith("dict_"):
        items = list(value)
    plain = [_plain(one) for one in items]
    if not plain or any(isinstance(one, Opaque) for one in plain):
        return []
    names = [str(one) for one in plain if one not in (None, "None")]
    return sorted(names) if isinstance(value, set | frozenset) else names


def _plain(value: Known) -> Known:
    """An enum's member as what it holds."""
    return value.value if isinstance(value, Member) and isinstance(value.value, str) else value
