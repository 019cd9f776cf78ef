"""Dataclass-like classes of a package: their fields, and the nested classes of JSON options."""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass

from infra.flags.extract.evaluate import Evaluator, Frame
from infra.flags.extract.hints import Annotated, followed, limits_of, shape
from infra.flags.extract.program import Module
from infra.flags.extract.values import ClassRef, Known, Opaque


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a class."""

    name: str
    annotation: Annotated
    default: Known
    """Opaque("") where it has none."""
    limits: str
    source: str
    init: bool = True


NO_DEFAULT = Opaque("")


def fields(interpreter: Evaluator, cls: ClassRef) -> dict[str, Field]:
    """The fields of a class and of those that it inherits from, in the order of a dataclass."""
    found: dict[str, Field] = {}
    for one in reversed(interpreter.ancestry(cls)):
        for node in one.node.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and not _is_class_variable(node):
                found[node.target.id] = _field(interpreter, one.module, node)
    return found


def _is_class_variable(node: ast.AnnAssign) -> bool:
    return ast.unparse(node.annotation).startswith(("ClassVar", "typing.ClassVar"))


def _field(interpreter: Evaluator, module: Module, node: ast.AnnAssign) -> Field:
    assert isinstance(node.target, ast.Name)
    annotated = followed(interpreter, module, node.annotation)
    default, init = _default(interpreter, module, node.value)
    limits = limits_of(node.value) or annotated.limits
    return Field(node.target.id, annotated, default, limits, f"{module.path}:{node.lineno}", init)


def _default(interpreter: Evaluator, module: Module, node: ast.expr | None) -> tuple[Known, bool]:
    if node is None:
        return NO_DEFAULT, True
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("field", "Field", "PydanticField"):
        init = True
        value: Known = NO_DEFAULT
        if node.args:
            value = interpreter.value(Frame(module), node.args[0])
        for one in node.keywords:
            if one.arg == "default":
                value = interpreter.value(Frame(module), one.value)
            elif one.arg == "default_factory":
                value = _made(interpreter, module, one.value)
            elif one.arg == "init":
                init = not (isinstance(one.value, ast.Constant) and one.value.value is False)
        return (None if value is ... else value), init
    return interpreter.value(Frame(module), node), True


def _made(interpreter: Evaluator, module: Module, node: ast.expr) -> Known:
    if isinstance(node, ast.Lambda):
        return interpreter.value(Frame(module), node.body)
    name = ast.unparse(node)
    return {"list": [], "dict": {}, "set": set(), "tuple": ()}.get(name, Opaque(f"{name}()"))


def shown(value: Known) -> str | None:
    """A default as a table keeps it: text, None where there is none."""
    if value is None or (isinstance(value, Opaque) and not re.fullmatch(r"[A-Z]\w*\(\)", value.text)):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, set | frozenset):
        return str(sorted(value, key=str))
    return str(value) if not isinstance(value, bool) else str(value).lower()


def nested_classes(
    interpreter: Evaluator, roots: Mapping[str, ClassRef], strict: frozenset[str]
) -> dict[str, dict[str, Known]]:
    """The table entries of classes and of all classes that their fields name; `strict` ones are made by keywords."""
    waiting = dict(roots)
    found: dict[str, dict[str, Known]] = {}
    while waiting:
        name, cls = waiting.popitem()
        if name in found:
            continue
        inner: dict[str, ClassRef] = {}
        found[name] = _nested(interpreter, cls, inner, name in strict)
        waiting.update(inner)
    return dict(sorted(found.items()))


def _nested(interpreter: Evaluator, cls: ClassRef, inner: dict[str, ClassRef], is_strict: bool) -> dict[str, Known]:
    free, nullable = validated(interpreter, cls)
    keys: dict[str, Known] = {}
    for name, one in fields(interpreter, cls).items():
        kind = shape(one.annotation, inner, nullable=name in nullable) if name not in free else "any"
        made = next(
            (hint.cls for hint in one.annotation.hints if hint.cls and hint.cls.node.name == free.get(name)), None
        )
        if made is not None:
            inner.setdefault(made.node.name, made)
            kind = {"made": made.node.name}
        entry: dict[str, Known] = {"shape": kind}
        default = shown(one.default)
        if default is not None and len(default) < 60:
            entry["default"] = default
        if one.limits and kind != "any":
            entry["limits"] = one.limits
        keys[name] = entry if len(entry) > 1 else kind
    extra = "forbid" if is_strict else _extra(interpreter, cls)
    return {"keys": keys, "closed": extra == "forbid"} if extra else {"keys": keys, "closed": False, "open": True}


def validated(interpreter: Evaluator, cls: ClassRef) -> tuple[dict[str, str], set[str]]:
    """Fields that a validator of the class's own reads first, and those for which it lets None through.

    With the first comes the class that the validator makes of a mapping, `PassConfig(**value)`, "" where it makes none.
    """
    free: dict[str, str] = {}
    nullable: set[str] = set()
    for one in interpreter.ancestry(cls):
        for node in one.node.body:
            for decorator in getattr(node, "decorator_list", ()):
                if not isinstance(decorator, ast.Call) or not ast.unparse(decorator.func).endswith("field_validator"):
                    continue
                mode = next((ast.unparse(key.value) for key in decorator.keywords if key.arg == "mode"), "'after'")
                names = {str(arg.value) for arg in decorator.args if isinstance(arg, ast.Constant)}
                if "*" in names:
                    names = set(fields(interpreter, cls))
                if mode == "'before'":
                    free |= dict.fromkeys(names, _made_class(node))
                elif mode in ("'wrap'", "'plain'"):
                    nullable |= names
                    if "none" not in getattr(node, "name", ""):
                        free |= dict.fromkeys(names, "")
    return free, nullable


def _made_class(node: ast.AST) -> str:
    for one in ast.walk(node):
        if isinstance(one, ast.Call) and any(keyword.arg is None for keyword in one.keywords):
            return ast.unparse(one.func)
    return ""


def _extra(interpreter: Evaluator, cls: ClassRef) -> str:
    """What a class does with keys that are none of its own: forbid, ignore, or "" where its code decides."""
    for one in interpreter.ancestry(cls):
        for node in one.node.body:
            for decorator in getattr(node, "decorator_list", ()):
                text = ast.unparse(decorator)
                if "model_validator" in text and "'before'" in text:
                    return ""
    texts = [ast.unparse(one) for one in cls.node.decorator_list]
    for text in texts:
        if "extra" in text:
            return "forbid" if "forbid" in text else "ignore"
    for decorator in cls.node.decorator_list:
        call = decorator.func if isinstance(decorator, ast.Call) else decorator
        function = interpreter.program.find(cls.module, ast.unparse(call))
        if function and isinstance(function[1], ast.FunctionDef) and "forbid" in ast.unparse(function[1]):
            return "forbid"
    return "ignore"
