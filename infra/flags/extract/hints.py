"""Type annotations followed to what they stand for, and as the shapes that JSON values are held against."""

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from infra.flags.extract.evaluate import Evaluator, Frame
from infra.flags.extract.program import Module
from infra.flags.extract.values import ClassRef, Opaque
from infra.flags.table import Shape

_PLAIN = ("int", "float", "str", "bool")
_LISTS = ("list", "List", "Sequence", "Iterable", "tuple", "Tuple", "set", "Set", "frozenset")
_DICTS = ("dict", "Dict", "Mapping", "MutableMapping", "OrderedDict", "defaultdict")
_NUMBERS = {
    "PositiveInt": ("int", ">0"),
    "NonNegativeInt": ("int", ">=0"),
    "NegativeInt": ("int", "<0"),
    "PositiveFloat": ("float", ">0"),
    "NonNegativeFloat": ("float", ">=0"),
    "StrictInt": ("int", ""),
    "StrictBool": ("bool", ""),
    "StrictStr": ("str", ""),
}
_BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


@dataclass(frozen=True, slots=True)
class Hint:
    """One alternative of an annotation."""

    kind: str
    """int, float, str, bool, none, literal, list, dict, class, any, other."""
    values: tuple[Any, ...] = ()
    """A literal's values."""
    inside: tuple["Hint", ...] = ()
    """What a list or a dict holds."""
    container: str = ""
    """list, tuple or set."""
    cls: ClassRef | None = None
    ellipsis: bool = False


@dataclass(frozen=True, slots=True)
class Annotated:
    """An annotation followed to its end."""

    hints: tuple[Hint, ...]
    limits: str = ""
    skipped: bool = False
    """Whether pydantic is told not to validate it."""
    extras: tuple[Any, ...] = ()
    """What stands beside the type in Annotated."""

    def has(self, kind: str) -> bool:
        """Whether one alternative is of a kind."""
        return any(one.kind == kind for one in self.hints)

    def first(self, kind: str) -> Hint | None:
        """The first alternative of a kind."""
        return next((one for one in self.hints if one.kind == kind), None)


def followed(  # noqa: PLR0911 - one return a form of annotation
    interpreter: Evaluator, module: Module, node: ast.expr, depth: int = 0
) -> Annotated:
    """The alternatives of an annotation."""
    if depth > 15:
        return Annotated((Hint("any"),))
    if isinstance(node, ast.Constant):
        if node.value is None:
            return Annotated((Hint("none"),))
        if isinstance(node.value, str):
            return followed(interpreter, module, ast.parse(node.value, mode="eval").body, depth + 1)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _joined(followed(interpreter, module, one, depth + 1) for one in (node.left, node.right))
    if isinstance(node, ast.Subscript):
        return _subscript(interpreter, module, node, depth)
    if isinstance(node, ast.Name | ast.Attribute):
        return _name(interpreter, module, node, depth)
    return Annotated((Hint("any"),))


def _subscript(  # noqa: PLR0911 - one return a form of annotation
    interpreter: Evaluator, module: Module, node: ast.Subscript, depth: int
) -> Annotated:
    name = ast.unparse(node.value).rpartition(".")[2]
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name == "Optional":
        return _joined((followed(interpreter, module, parts[0], depth + 1), Annotated((Hint("none"),))))
    if name == "Union":
        return _joined(followed(interpreter, module, one, depth + 1) for one in parts)
    if name in ("Annotated", "A"):
        inner = followed(interpreter, module, parts[0], depth + 1)
        extras = tuple(interpreter.value(Frame(module), one) for one in parts[1:])
        return Annotated(inner.hints, _bounds(parts[1:]) or inner.limits, inner.skipped, extras)
    if name == "SkipValidation":
        inner = followed(interpreter, module, parts[0], depth + 1)
        return Annotated(inner.hints, inner.limits, skipped=True)
    if name == "Literal":
        values = interpreter.value(Frame(module), node)
        known = isinstance(values, tuple) and not any(isinstance(one, Opaque) for one in values)
        return Annotated((Hint("literal", tuple(values)) if known else Hint("str"),))
    if name in _LISTS:
        plain = [one for one in parts if not (isinstance(one, ast.Constant) and one.value is ...)]
        inside = tuple(hint for one in plain for hint in followed(interpreter, module, one, depth + 1).hints)
        kind = "tuple" if name.lower() == "tuple" else "set" if name.lower() in ("set", "frozenset") else "list"
        fixed = kind == "tuple" and len(plain) == len(parts)
        count = (len(parts),) if fixed else ()
        return Annotated((Hint("list", count, inside, kind, ellipsis=not fixed),))
    if name in _DICTS:
        inside = followed(interpreter, module, parts[-1], depth + 1).hints if len(parts) > 1 else ()
        return Annotated((Hint("dict", (), tuple(inside)),))
    if name in ("ClassVar", "InitVar", "Final", "SerializeAsAny"):
        return followed(interpreter, module, parts[0], depth + 1)
    return Annotated((Hint("other"),))


def _name(  # noqa: PLR0911 - one return a form of annotation
    interpreter: Evaluator, module: Module, node: ast.Name | ast.Attribute, depth: int
) -> Annotated:
    name = ast.unparse(node).rpartition(".")[2]
    if isinstance(node, ast.Name):
        found = interpreter.program.find(module, name)
        if found is not None:
            inside, definition = found
            if isinstance(definition, ast.ClassDef):
                return Annotated((Hint("class", cls=ClassRef(inside, definition)),))
            if isinstance(definition, ast.expr):
                return followed(interpreter, inside, definition, depth + 1)
            return Annotated((Hint("other"),))
    if name in _PLAIN:
        return Annotated((Hint(name),))
    if name in _NUMBERS:
        kind, limits = _NUMBERS[name]
        return Annotated((Hint(kind),), limits)
    if name in _LISTS:
        return Annotated((Hint("list", (), (), name.lower(), ellipsis=True),))
    if name in _DICTS:
        return Annotated((Hint("dict"),))
    return Annotated((Hint("any" if name in ("Any", "object") else "other"),))


def _joined(parts: Iterable[Annotated]) -> Annotated:
    hints: list[Hint] = []
    limits, skipped = "", False
    for one in parts:
        hints += [hint for hint in one.hints if hint not in hints]
        limits, skipped = limits or one.limits, skipped or one.skipped
    return Annotated(tuple(hints), limits, skipped)


def _bounds(nodes: Iterable[ast.expr]) -> str:
    return " ".join(limits_of(one) for one in nodes if isinstance(one, ast.Call)).strip()


def limits_of(node: ast.expr | None) -> str:
    """The bounds that `Field(ge=0)` sets."""
    if not isinstance(node, ast.Call) or ast.unparse(node.func).rpartition(".")[2] not in (
        "Field",
        "PydanticField",
        "Interval",
    ):
        return ""
    return " ".join(
        f"{_BOUNDS[one.arg]}{ast.unparse(one.value)}"
        for one in node.keywords
        if one.arg in _BOUNDS and isinstance(one.value, ast.Constant | ast.UnaryOp)
    )


def shape(annotated: Annotated, classes: "dict[str, ClassRef]", *, nullable: bool = False) -> Shape:
    """What a JSON value must hold; classes that it names are noted in `classes`."""
    if annotated.skipped:
        return "any"
    shapes: list[Shape] = []
    for hint in annotated.hints:
        one = _shape(hint, classes)
        if one == "any":
            return "any"
        if one not in shapes:
            shapes.append(one)
    if nullable and "none" not in shapes:
        shapes.append("none")
    return shapes[0] if len(shapes) == 1 else shapes or "any"


def _shape(hint: Hint, classes: "dict[str, ClassRef]") -> Shape:  # noqa: PLR0911 - one a kind of hint
    if hint.kind in (*_PLAIN, "none"):
        return hint.kind
    if hint.kind == "literal":
        return {"one of": list(hint.values)}
    if hint.kind == "list":
        inner = shape(Annotated(hint.inside), classes) if hint.inside and not hint.values else "any"
        return {"list": inner}
    if hint.kind == "dict":
        return {"dict": shape(Annotated(hint.inside), classes) if hint.inside else "any"}
    if hint.kind == "class" and hint.cls is not None:
        bases = [ast.unparse(one) for one in hint.cls.node.bases]
        record = any(
            "dataclass" in ast.unparse(one) or "config" in ast.unparse(one) for one in hint.cls.node.decorator_list
        )
        if not record or any("Enum" in base for base in bases):
            return "any"
        known = classes.setdefault(hint.cls.node.name, hint.cls)
        return {"class": hint.cls.node.name} if known.node is hint.cls.node else "any"
    return "any"
