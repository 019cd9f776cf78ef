"""vLLM's `get_kwargs`: what a field's type makes of its command-line option, release by release."""

import ast

from infra.flags.extract.evaluate import Evaluator, Frame
from infra.flags.extract.hints import Annotated, Hint, shape
from infra.flags.extract.program import Module
from infra.flags.extract.records import NO_DEFAULT, fields, validated
from infra.flags.extract.values import ClassRef, Known, Opaque

NOTE = "slipway"
"""The key under which facts about the field travel through the keywords of `add_argument`."""


def get_kwargs(interpreter: Evaluator, cls: ClassRef, rules: "Rules") -> dict[str, dict[str, Known]]:
    """The keywords for `add_argument` of each field of a class."""
    made: dict[str, dict[str, Known]] = {}
    free, nullable = validated(interpreter, cls)
    for name, one in fields(interpreter, cls).items():
        hints = Annotated(rules.folded(one.annotation.hints), one.annotation.limits, one.annotation.skipped)
        keywords = rules.keywords(name, hints)
        keywords["default"] = None if one.default is NO_DEFAULT else one.default
        classes: dict[str, ClassRef] = {}
        kind = "any" if name in free else shape(one.annotation, classes, nullable=name in nullable)
        limits = "" if name in free else one.limits
        note = {"limits": limits, "shape": kind, "classes": classes, "names": _names(interpreter, one.annotation)}
        keywords[NOTE] = note
        levels = _levels(interpreter, one.annotation)
        if levels and repr(keywords.get("type")) == "str":
            keywords["choices"] = levels
        made[name] = keywords
    return made


def _levels(interpreter: Evaluator, annotation: Annotated) -> list[str]:
    """The numbers of an enum of numbers, which its class takes as text too."""
    cls = annotation.hints[0].cls if len(annotation.hints) == 1 else None
    if cls is None or not any(ast.unparse(base).endswith("IntEnum") for base in cls.node.bases):
        return []
    return [str(member.value) for member in interpreter.members(cls) if isinstance(member.value, int)]


def _names(interpreter: Evaluator, annotation: Annotated) -> list[str]:
    """The members of an enum that the option's text is looked up in."""
    for hint in annotation.hints:
        bases = [ast.unparse(base) for base in hint.cls.node.bases] if hint.cls is not None else []
        if hint.cls is not None and any(base.endswith("Enum") and "Int" not in base for base in bases):
            return [member.name for member in interpreter.members(hint.cls)]
    return []


class Rules:
    """The order of tests in one release's `_compute_kwargs`, as its source shows it."""

    def __init__(self, interpreter: Evaluator, module: Module) -> None:
        self._interpreter, self._module = interpreter, module
        text = {name: ast.unparse(node) for name, node in module.names.items() if isinstance(node, ast.FunctionDef)}
        self._compute = text.get("_compute_kwargs", text.get("get_kwargs", ""))
        self._metavar = "metavar" in text.get("literal_to_kwargs", "")
        self._sets = "contains_type(type_hints, set)" in self._compute
        self._optional_flag = "{bool, str, type(None)}" in self._compute
        self._dict_subclass = "is_dict_subclass" in self._compute
        self._readable = self._readable_ints()

    def _readable_ints(self) -> dict[str, str]:
        """Fields whose integers take suffixes: by comparisons with their names."""
        found: dict[str, str] = {}
        node = self._module.names.get("_compute_kwargs") or self._module.names.get("get_kwargs")
        if not isinstance(node, ast.FunctionDef):
            return found
        named: dict[str, Known] = {}
        for one in ast.walk(node):
            if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name):
                named[one.targets[0].id] = self._interpreter.value(Frame(self._module), one.value)
        for one in ast.walk(node):
            if (
                not isinstance(one, ast.If)
                or not isinstance(one.test, ast.Compare)
                or ast.unparse(one.test.left) != "name"
            ):
                continue
            right = self._interpreter.value(Frame(self._module, dict(named)), one.test.comparators[0])
            names = [right] if isinstance(right, str) else self._interpreter.items(right) or []
            kinds = [ast.unparse(line.value) for line in one.body if isinstance(line, ast.Assign)]
            for kind in kinds:
                found.update(dict.fromkeys(names, kind) if "human_readable" in kind else {})
        return found

    def folded(self, hints: tuple[Hint, ...]) -> tuple[Hint, ...]:
        """Subclasses of dict are dicts on the command line."""
        return tuple(
            Hint("dict")
            if self._dict_subclass
            and one.cls
            and any(ast.unparse(base).startswith("dict") for base in one.cls.node.bases)
            else one
            for one in hints
        )

    def keywords(self, name: str, hints: Annotated) -> dict[str, Known]:
        """The type, choices and count of one field."""
        found = self._typed(name, hints)
        inner = found.pop("literal", None)
        if inner is not None:
            found.update(self._literal(inner, hints=None))
        if hints.has("none") and not hints.has("bool"):
            found["optional"] = True
            if found.get("choices"):
                found["choices"] = [*found["choices"], "None"]
        return found

    def _typed(self, name: str, hints: Annotated) -> dict[str, Known]:  # noqa: PLR0911 - the order of tests is the release's
        record = next((one for one in hints.hints if one.cls is not None and _is_record(one.cls)), None)
        if record is not None and record.cls is not None:
            own = self._interpreter.method(record.cls, "from_cli")
            return {
                "type": Opaque("dataclass"),
                "record": record.cls,
                "from_cli": own is not None and "from_cli" in self._compute and "'3'" in ast.unparse(own.node),
            }
        if self._optional_flag and {one.kind for one in hints.hints} == {"bool", "str", "none"}:
            return {"type": Opaque("str"), "nargs": "?", "const": True}
        if hints.has("bool"):
            return {"action": Opaque("argparse.BooleanOptionalAction")}
        literal = hints.first("literal")
        if literal is not None:
            return self._literal(literal, hints)
        for container in ("tuple", "list", *(("set",) if self._sets else ())):
            inside = next((one for one in hints.hints if one.kind == "list" and one.container == container), None)
            if inside is not None:
                return _collection(inside)
        if hints.has("int"):
            return {"type": Opaque(self._readable.get(name, "int"))}
        if hints.has("float"):
            return {"type": Opaque("float")}
        foreign = any(one.kind in ("class", "other", "any") for one in hints.hints)
        if hints.has("dict"):
            return {"type": Opaque("union_dict_and_str" if hints.has("str") or foreign else "json.loads")}
        return {"type": Opaque("str")}

    def _literal(self, literal: Hint, hints: Annotated | None) -> dict[str, Known]:
        key = "metavar" if self._metavar and hints is not None and hints.has("str") else "choices"
        kind = type(literal.values[0]).__name__ if literal.values else "str"
        return {"type": Opaque(kind), key: sorted(literal.values)}


def _collection(hint: Hint) -> dict[str, Known]:
    kinds = {one.kind for one in hint.inside}
    count: int | str = hint.values[0] if hint.values else "+"
    found: dict[str, Known] = {"nargs": count}
    literal = next((one for one in hint.inside if one.kind == "literal"), None)
    if literal is not None and len(kinds) == 1:
        return {**found, "literal": literal}
    if len(hint.inside) == 1 and kinds & {"int", "float", "str"}:
        return {**found, "type": Opaque(kinds.pop())}
    return {**found, "type": Opaque("str" if "str" in kinds else "any")}


def _is_record(cls: ClassRef) -> bool:
    return any(
        "dataclass" in ast.unparse(one) or ast.unparse(one).startswith("config") for one in cls.node.decorator_list
    )
