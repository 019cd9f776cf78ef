"""The static evaluation of expressions: what they are worth as far as the sources tell, else their text."""

import ast
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import permutations

from infra.flags.extract.program import Definition, Module, Program
from infra.flags.extract.safe import BUILTINS, COMPARISONS, METHODS, OPERATORS
from infra.flags.extract.values import Added, ClassRef, FunctionRef, Known, Made, Member, Opaque, ParserObject

Hook = Callable[["Evaluator", list[Known], dict[str, Known]], Known]

MISSING = object()
"""What an attribute is worth that a class has not."""
DEEPEST = 20


@dataclass(slots=True)
class Frame:
    """The names of one running function."""

    module: Module
    names: dict[str, Known] = field(default_factory=dict)
    owner: ClassRef | None = None


@dataclass(slots=True)
class Evaluator(ABC):
    """Evaluates expressions; how functions run is its heir's."""

    program: Program
    hooks: Mapping[str, Hook] = field(default_factory=dict)
    """Functions that are done here instead of followed, by name."""
    depth: int = 0

    @abstractmethod
    def call(self, function: FunctionRef, args: list[Known], keywords: dict[str, Known]) -> Known:
        """Runs a function and gives what it returns, as far as that is known."""

    @abstractmethod
    def assign(self, frame: Frame, target: ast.expr, value: Known) -> None:
        """Binds a name, or the names of a tuple, to a value."""

    def constant(self, module: Module, name: str) -> Known:
        """The value of a module's name."""
        return self._global(Frame(module), name)

    def method(self, cls: ClassRef, name: str) -> FunctionRef | None:
        """A method of a class or of what it inherits from."""
        for one in self.ancestry(cls):
            for node in one.node.body:
                if isinstance(node, ast.FunctionDef) and node.name == name:
                    return FunctionRef(one.module, node, cls)
        return None

    def ancestry(self, cls: ClassRef) -> list[ClassRef]:
        """The class and those that it inherits from, nearest first."""
        found = [cls]
        for base in cls.node.bases:
            ref = self.value(Frame(cls.module), base)
            if isinstance(ref, ClassRef) and all(ref.node is not one.node for one in found):
                found += [one for one in self.ancestry(ref) if all(one.node is not other.node for other in found)]
        return found

    # -- expressions

    def value(self, frame: Frame, node: ast.expr) -> Known:
        """What an expression is worth."""
        try:
            return self._value(frame, node)
        except (
            TypeError,
            ValueError,
            KeyError,
            IndexError,
            AttributeError,
            ZeroDivisionError,
            StopIteration,
            OverflowError,
        ):
            return Opaque(ast.unparse(node))

    def _value(self, frame: Frame, node: ast.expr) -> Known:  # noqa: C901, PLR0911, PLR0912 - one case a kind of expression
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                return self._name(frame, node.id)
            case ast.Attribute():
                return self._attribute(frame, node)
            case ast.List() | ast.Tuple() | ast.Set():
                made = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
                return made(self._elements(frame, node.elts))
            case ast.Dict():
                return self._dict(frame, node)
            case ast.JoinedStr():
                return self._text(frame, node)
            case ast.Subscript() if ast.unparse(node.value) in ("Literal", "typing.Literal"):
                return self._literal(frame, node.slice)
            case ast.Subscript():
                holder, key = self.value(frame, node.value), self.value(frame, node.slice)
                return holder[key] if isinstance(holder, dict | list | tuple | str) else Opaque(ast.unparse(node))
            case ast.BinOp():
                left, right = self.value(frame, node.left), self.value(frame, node.right)
                known = not isinstance(left, Opaque) and not isinstance(right, Opaque)
                return OPERATORS[type(node.op)](left, right) if known else Opaque(ast.unparse(node))
            case ast.UnaryOp():
                inner = self.value(frame, node.operand)
                if isinstance(inner, Opaque):
                    return inner
                return not inner if isinstance(node.op, ast.Not) else -inner if isinstance(node.op, ast.USub) else inner
            case ast.BoolOp():
                return self._all_or_any(frame, node)
            case ast.Compare():
                return self._compare(frame, node)
            case ast.IfExp():
                test = self.value(frame, node.test)
                if isinstance(test, Opaque):
                    return Opaque(ast.unparse(node))
                return self.value(frame, node.body if test else node.orelse)
            case ast.Call():
                return self._call(frame, node)
            case ast.ListComp() | ast.GeneratorExp() | ast.SetComp():
                return self._comprehension(frame, node)
            case ast.Starred():
                return self.value(frame, node.value)
            case _:
                return Opaque(ast.unparse(node))

    def _literal(self, frame: Frame, node: ast.expr) -> tuple[Known, ...]:
        """The values of a Literal, with those of the Literals inside it."""
        parts = self._elements(frame, node.elts if isinstance(node, ast.Tuple) else [node])
        return tuple(one for part in parts for one in (part if isinstance(part, tuple) else (part,)))

    def _elements(self, frame: Frame, nodes: Iterable[ast.expr]) -> list[Known]:
        found: list[Known] = []
        for one in nodes:
            value = self.value(frame, one)
            if isinstance(one, ast.Starred):
                items = self.items(value)
                found += items if items is not None else [value]
            else:
                found.append(value)
        return found

    def _dict(self, frame: Frame, node: ast.Dict) -> Known:
        found: dict[Known, Known] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            inner = self.value(frame, value)
            if key is not None:
                found[self.value(frame, key)] = inner
            elif isinstance(inner, dict):
                found.update(inner)
        return found

    def _text(self, frame: Frame, node: ast.JoinedStr) -> str | Opaque:
        parts = []
        for one in node.values:
            value = self.value(frame, one.value) if isinstance(one, ast.FormattedValue) else self.value(frame, one)
            if isinstance(value, Opaque):
                return Opaque(ast.unparse(node))
            parts.append(str(value))
        return "".join(parts)

    def _all_or_any(self, frame: Frame, node: ast.BoolOp) -> Known:
        value: Known = None
        for one in node.values:
            value = self.value(frame, one)
            if isinstance(value, Opaque):
                return value
            if bool(value) is isinstance(node.op, ast.Or):
                return value
        return value

    def _compare(self, frame: Frame, node: ast.Compare) -> Known:
        left = self.value(frame, node.left)
        for kind, one in zip(node.ops, node.comparators, strict=True):
            right = self.value(frame, one)
            if isinstance(left, Opaque) or isinstance(right, Opaque):
                return Opaque(ast.unparse(node))
            if not COMPARISONS[type(kind)](left, right):
                return False
            left = right
        return True

    def _comprehension(self, frame: Frame, node: ast.ListComp | ast.GeneratorExp | ast.SetComp) -> Known:
        [loop] = node.generators
        items = self.items(self.value(frame, loop.iter))
        if items is None:
            return Opaque(ast.unparse(node))
        found = []
        for item in items:
            inner = Frame(frame.module, dict(frame.names), frame.owner)
            self.assign(inner, loop.target, item)
            if all(self.value(inner, test) for test in loop.ifs):
                found.append(self.value(inner, node.elt))
        return set(found) if isinstance(node, ast.SetComp) else found

    def items(self, value: Known) -> list[Known] | None:
        """What iterating over a value gives, None where that is not known."""
        if isinstance(value, ClassRef):
            return list(self.members(value))
        if isinstance(value, list | tuple | set | dict | frozenset | range) or type(value).__name__.startswith("dict_"):
            return list(value)
        return list(value) if isinstance(value, zip | enumerate | permutations) else None

    def members(self, cls: ClassRef) -> list[Member]:
        """The members of an enum."""
        found: list[Member] = []
        for node in cls.node.body:
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.targets[0], ast.Name)
                and not node.targets[0].id.startswith("_")
            ):
                value = self.value(Frame(cls.module, {one.name: one.value for one in found}), node.value)
                if isinstance(node.value, ast.Call) and ast.unparse(node.value.func).endswith("auto"):
                    value = len(found) + 1
                found.append(Member(cls.node.name, node.targets[0].id, value))
        return found

    # -- names

    def _name(self, frame: Frame, name: str) -> Known:
        if name in frame.names:
            return frame.names[name]
        return self._global(frame, name)

    def _global(self, frame: Frame, name: str) -> Known:
        found = self.program.find(frame.module, name)
        if found is not None:
            return self._defined(*found)
        module = self.program.imported(frame.module, name)
        return module if module is not None else Opaque(name)

    def _defined(self, module: Module, node: Definition) -> Known:
        if isinstance(node, ast.ClassDef):
            return ClassRef(module, node)
        if isinstance(node, ast.FunctionDef):
            return FunctionRef(module, node)
        if self.depth > DEEPEST:
            return Opaque(ast.unparse(node))
        self.depth += 1
        try:
            return self.value(Frame(module), node)
        finally:
            self.depth -= 1

    def _attribute(self, frame: Frame, node: ast.Attribute) -> Known:
        holder = self.value(frame, node.value)
        if isinstance(holder, Module):
            return self._global(Frame(holder), node.attr)
        if isinstance(holder, Member) and node.attr in ("name", "value"):
            return holder.name if node.attr == "name" else holder.value
        if isinstance(holder, ClassRef):
            if node.attr == "__name__":
                return holder.node.name
            value = self.class_attribute(holder, node.attr)
            return Opaque(ast.unparse(node)) if value is MISSING else value
        return Opaque(ast.unparse(node))

    def class_attribute(self, cls: ClassRef, name: str) -> Known:
        """A value in a class's body, a method, or an enum's member."""
        for one in self.ancestry(cls):
            if any("Enum" in ast.unparse(base) for base in one.node.bases):
                member = next((each for each in self.members(one) if each.name == name), None)
                if member is not None:
                    return member
            for node in one.node.body:
                target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
                value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
                if isinstance(target, ast.Name) and target.id == name and value is not None:
                    return self.value(Frame(one.module), value)
        method = self.method(cls, name)
        return method if method is not None else MISSING

    # -- calls

    def _call(self, frame: Frame, node: ast.Call) -> Known:  # noqa: PLR0911 - one return a kind of function
        if isinstance(node.func, ast.Attribute):
            holder = self._super(frame, node.func.value)
            if holder is None:
                holder = self.value(frame, node.func.value)
            return self._method_call(frame, node, holder, node.func.attr)
        function = self.value(frame, node.func)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        args, keywords = self._call_arguments(frame, node)
        if name in self.hooks:
            return self.hooks[name](self, args, keywords)
        if isinstance(function, FunctionRef):
            return self.call(function, args, keywords)
        if isinstance(function, ClassRef):
            return Made(function.node.name, tuple(args), keywords)
        if isinstance(function, Opaque) and function.text == name and name in BUILTINS:
            plain = [self.items(one) if isinstance(one, ClassRef) else one for one in args]
            if not any(isinstance(one, Opaque) for one in plain):
                return BUILTINS[name](*plain, **keywords)
        if name == "get_args" and args and not isinstance(args[0], Opaque):
            return args[0]
        shown = ", ".join([*(repr(one) for one in args), *(f"{key}={value!r}" for key, value in keywords.items())])
        return Opaque(f"{name or ast.unparse(node.func)}({shown})")

    def _super(self, frame: Frame, node: ast.expr) -> Known:
        is_super = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"
        return Opaque("super") if is_super and frame.owner is not None else None

    def _call_arguments(self, frame: Frame, node: ast.Call) -> tuple[list[Known], dict[str, Known]]:
        args = self._elements(frame, node.args)
        keywords: dict[str, Known] = {}
        for one in node.keywords:
            value = self.value(frame, one.value)
            if one.arg is not None:
                keywords[one.arg] = value
            elif isinstance(value, dict):
                keywords.update(value)
            else:
                keywords["unread"] = value
        return args, keywords

    def _method_call(  # noqa: PLR0911 - one return a kind of object
        self, frame: Frame, node: ast.Call, holder: Known, name: str
    ) -> Known:
        args, keywords = self._call_arguments(frame, node)
        if isinstance(holder, ParserObject):
            return self._parser_call(frame, node, holder, args, keywords)
        if f".{name}" in self.hooks:
            return self.hooks[f".{name}"](self, [holder, *args], keywords)
        if isinstance(holder, Opaque) and holder.text == "super" and frame.owner is not None:
            return self._super_call(frame, node, name, args, keywords)
        if isinstance(holder, ClassRef):
            found = self.class_attribute(holder, name)
            return self.call(found, args, keywords) if isinstance(found, FunctionRef) else Opaque(ast.unparse(node))
        if isinstance(holder, Module):
            function = self._global(Frame(holder), name)
            if isinstance(function, FunctionRef):
                return self.call(function, args, keywords)
        for kind, methods in METHODS.items():
            if isinstance(holder, kind) and name in methods:
                return getattr(holder, name)(*args, **keywords)
        if isinstance(holder, Opaque):
            return Opaque(ast.unparse(node))
        return Opaque(ast.unparse(node))

    def _super_call(
        self, frame: Frame, node: ast.Call, name: str, args: list[Known], keywords: dict[str, Known]
    ) -> Known:
        """The method of the next class in line after the one whose body this is."""
        assert frame.owner is not None
        line = self.ancestry(frame.owner)
        here = next((index for index, one in enumerate(line) if _holds(one, node)), 0)
        for one in line[here + 1 :]:
            for method in one.node.body:
                if isinstance(method, ast.FunctionDef) and method.name == name:
                    return self.call(FunctionRef(one.module, method, frame.owner), args, keywords)
        return Opaque(ast.unparse(node))

    def _parser_call(
        self, frame: Frame, node: ast.Call, parser: ParserObject, args: list[Known], keywords: dict[str, Known]
    ) -> Known:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if name == "add_argument":
            names = tuple(one for one in args if isinstance(one, str))
            parser.added.append(Added(names, keywords, f"{frame.module.path}:{node.lineno}", parser.group))
            return None
        if name == "add_mutually_exclusive_group":
            return ParserObject(parser.added, f"{frame.module.path}:{node.lineno}")
        if name in ("add_argument_group", "add_parser", "add_subparsers"):
            return ParserObject(parser.added, parser.group)
        return None


def _holds(cls: ClassRef, node: ast.AST) -> bool:
    return any(one is node for one in ast.walk(cls.node))
