"""A small interpreter for the functions that fill a parser: follows calls, and both branches where it cannot know."""

import ast
from collections.abc import Iterable
from dataclasses import dataclass

from infra.flags.extract.evaluate import DEEPEST, Evaluator, Frame
from infra.flags.extract.program import Module
from infra.flags.extract.values import FunctionRef, Known, Opaque


class Returned(Exception):
    """A function's `return`."""

    def __init__(self, value: Known) -> None:
        super().__init__()
        self.value = value


@dataclass(slots=True)
class Interpreter(Evaluator):
    """Runs the functions of a program."""

    def call(self, function: FunctionRef, args: list[Known], keywords: dict[str, Known]) -> Known:
        """Runs a function and gives what it returns, as far as that is known."""
        if self.depth > DEEPEST:
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
                    self.assign(frame, target, value)
            case ast.AnnAssign() if node.value is not None:
                self.assign(frame, node.target, self.value(frame, node.value))
            case ast.AugAssign():
                load = ast.copy_location(ast.BinOp(_as_load(node.target), node.op, node.value), node)
                self.assign(frame, node.target, self.value(frame, load))
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
            self.assign(frame, node.target, item)
            self._run(frame, node.body)

    def assign(self, frame: Frame, target: ast.expr, value: Known) -> None:
        """Binds a name, a key or the names of a tuple."""
        if isinstance(target, ast.Name):
            frame.names[target.id] = value
        elif isinstance(target, ast.Subscript):
            holder, key = self.value(frame, target.value), self.value(frame, target.slice)
            if isinstance(holder, dict) and not isinstance(key, Opaque):
                holder[key] = value
        elif isinstance(target, ast.Tuple):
            items = self.items(value)
            for one, item in zip(target.elts, items if items is not None else (), strict=False):
                self.assign(frame, one, item)

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


def _as_load(node: ast.expr) -> ast.expr:
    copied = ast.parse(ast.unparse(node), mode="eval").body
    return ast.copy_location(copied, node)
