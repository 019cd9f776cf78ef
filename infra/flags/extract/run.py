"""A small interpreter for the functions that fill a parser: follows calls, and both branches where it cannot know."""

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import permutations

from infra.flags.extract.program import Definition, Module, Program
from infra.flags.extract.values import Added, ClassRef, FunctionRef, Known, Made, Member, Opaque, ParserObject

Hook = Callable[["Interpreter", list[Known], dict[str, Known]], Known]

_MISSING = object()
_SAFE_METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset(
        [
            "replace",
            "removeprefix",
            "removesuffix",
            "lower",
            "upper",
            "strip",
            "lstrip",
            "rstrip",
            "split",
            "join",
            "format",
            "startswith",
            "endswith",
            "title",
        ]
    ),
    list: frozenset(["append", "extend", "remove", "insert", "copy", "index", "count", "pop"]),
    dict: frozenset(["keys", "values", "items", "get", "pop", "update", "setdefault", "copy"]),
    set: frozenset(["add", "update", "discard", "remove", "union", "copy"]),
    tuple: frozenset(("index", "count")),
}
_BUILTINS: Mapping[str, Callable[..., Known]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "dict": dict,
    "sorted": sorted,
    "len": len,
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "range": range,
    "zip": zip,
    "enumerate": enumerate,
    "min": min,
    "max": max,
    "frozenset": frozenset,
    "sum": sum,
    "any": any,
    "all": all,
    "reversed": reversed,
    "permutations": permutations,
}
_OPERATORS: Mapping[type, Callable[[Known, Known], Known]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitOr: operator.or_,
}
_COMPARISONS: Mapping[type, Callable[[Known, Known], Known]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
    ast.Is: lambda a, b: a is b or a == b,
    ast.IsNot: lambda a, b: not (a is b or a == b),
}


class Returned(Exception):
    """A function's `return`."""

    def __init__(self, value: Known) -> None:
        super().__init__()
        self.value = value


@dataclass(slots=True)
class Frame:
    """The names of one running function."""

    module: Module
    names: dict[str, Known] = field(default_factory=dict)
    owner: ClassRef | None = None


@dataclass(slots=True)
class Interpreter:
    """Evaluates expressions and runs functions of a program."""

    program: Program
    hooks: Mapping[str, Hook] = field(default_factory=dict)
    """Functions that are done here instead of followed, by name."""
    depth: int = 0

    def call(self, function: FunctionRef, args: list[Known], keywords: dict[str, Known]) -> Known:
        """Runs a function and gives what it returns, as far as that is known."""
        if self.depth > 20:
            return Opaque(f"{function.node.name}()")
        frame = Frame(function.module, self._arguments(function, args, keywords), function.owner)
        self.depth += 1
        try:
            self._run(frame, function.node.body)
        except Returned as returned:
            return returned.value
        finally:
            self.depth -= 1
        return None

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

    # -- statements

    def _arguments(self, function: FunctionRef, args: list[Known], keywords: dict[str, Known]) -> dict[str, Known]:
        spec = function.node.args
        names = [one.arg for one in [*spec.posonlyargs, *spec.args]]
        decorators = {ast.unparse(one) for one in function.node.decorator_list}
        given = list(args)
        if function.owner is not None and "staticmethod" not in decorators:
            given = [function.owner, *given]
        bound: dict[str, Known] = dict(zip(names, given, strict=False))
        bound.update(keywords)
        frame = Frame(function.module)
        for name, default in zip(reversed(names), reversed(spec.defaults), strict=False):
            bound.setdefault(name, self.value(frame, default))
        for one, value in zip(spec.kwonlyargs, spec.kw_defaults, strict=True):
            if value is not None:
                bound.setdefault(one.arg, self.value(frame, value))
        for name in names:
            bound.setdefault(name, Opaque(name))
        return bound

    def _run(self, frame: Frame, body: Iterable[ast.stmt]) -> None:
        for node in body:
            self._step(frame, node)

    def _step(self, frame: Frame, node: ast.stmt) -> None:  # noqa: C901, PLR0912 - one case a kind of statement
        match node:
            case ast.Expr():
                self.value(frame, node.value)
            case ast.Assign():
                value = self.value(frame, node.value)
                for target in node.targets:
                    self._assign(frame, target, value)
            case ast.AnnAssign() if node.value is not None:
                self._assign(frame, node.target, self.value(frame, node.value))
            case ast.AugAssign():
                load = ast.copy_location(ast.BinOp(_as_load(node.target), node.op, node.value), node)
                self._assign(frame, node.target, self.value(frame, load))
            case ast.If():
                self._branch(frame, node)
            case ast.For():
                self._loop(frame, node)
            case ast.Return():
                raise Returned(self.value(frame, node.value) if node.value else None)
            case ast.Delete():
                for target in node.targets:
                    self._delete(frame, target)
            case ast.With() | ast.Try():
                self._run(frame, node.body)
            case ast.FunctionDef():
                frame.names[node.name] = FunctionRef(frame.module, node)
            case ast.ImportFrom() | ast.Import():
                self._import(frame, node)
            case _:
                pass

    def _branch(self, frame: Frame, node: ast.If) -> None:
        test = self.value(frame, node.test)
        if isinstance(test, Opaque):
            for body in (node.body, node.orelse):
                try:
                    self._run(frame, body)
                except Returned:
                    continue
        else:
            self._run(frame, node.body if test else node.orelse)

    def _loop(self, frame: Frame, node: ast.For) -> None:
        items = self.items(self.value(frame, node.iter))
        for item in items if items is not None else ():
            self._assign(frame, node.target, item)
            self._run(frame, node.body)

    def _assign(self, frame: Frame, target: ast.expr, value: Known) -> None:
        if isinstance(target, ast.Name):
            frame.names[target.id] = value
        elif isinstance(target, ast.Subscript):
            holder, key = self.value(frame, target.value), self.value(frame, target.slice)
            if isinstance(holder, dict) and not isinstance(key, Opaque):
                holder[key] = value
        elif isinstance(target, ast.Tuple):
            items = self.items(value)
            for one, item in zip(target.elts, items if items is not None else (), strict=False):
                self._assign(frame, one, item)

    def _delete(self, frame: Frame, target: ast.expr) -> None:
        if isinstance(target, ast.Subscript):
            holder, key = self.value(frame, target.value), self.value(frame, target.slice)
            if isinstance(holder, dict):
                holder.pop(key, None)

    def _import(self, frame: Frame, node: ast.ImportFrom | ast.Import) -> None:
        shell = Module(
            frame.module.name,
            frame.module.path,
            frame.module.tree,
            {(alias.asname or alias.name.partition(".")[0]): node for alias in node.names},
        )
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            found = self.program.find(shell, name) if isinstance(node, ast.ImportFrom) else None
            if found:
                frame.names[name] = self._defined(*found)
            else:
                module = self.program.imported(shell, name)
                frame.names[name] = module if module is not None else Opaque(name)

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
                return _OPERATORS[type(node.op)](left, right) if known else Opaque(ast.unparse(node))
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
            if not _COMPARISONS[type(kind)](left, right):
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
            self._assign(inner, loop.target, item)
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
        if self.depth > 20:
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
            return Opaque(ast.unparse(node)) if value is _MISSING else value
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
        return method if method is not None else _MISSING

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
        if isinstance(function, Opaque) and function.text == name and name in _BUILTINS:
            plain = [self.items(one) if isinstance(one, ClassRef) else one for one in args]
            if not any(isinstance(one, Opaque) for one in plain):
                return _BUILTINS[name](*plain, **keywords)
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
        for kind, methods in _SAFE_METHODS.items():
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


def _as_load(node: ast.expr) -> ast.expr:
    copied = ast.parse(ast.unparse(node), mode="eval").body
    return ast.copy_location(copied, node)
