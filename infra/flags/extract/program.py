"""The modules of a package as syntax trees, and where their names are defined."""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Definition = ast.ClassDef | ast.FunctionDef | ast.expr


@dataclass(frozen=True, slots=True, eq=False)
class Module:
    """One source file."""

    name: str
    path: str
    tree: ast.Module
    names: Mapping[str, ast.stmt | ast.expr]
    """What each top-level name is bound to when the module has run: a class, a function, a value or an import."""
    stars: tuple[str, ...] = ()
    """Modules whose names it takes over all at once."""


@dataclass(slots=True)
class Program:
    """All sources that were read, parsed when they are asked for."""

    sources: Mapping[str, str]
    modules: dict[str, Module | None] = field(default_factory=dict)

    def module(self, name: str) -> Module | None:
        """A module by its dotted name, None where it is not among the sources."""
        if name not in self.modules:
            base = name.replace(".", "/")
            path = next((one for one in (f"{base}.py", f"{base}/__init__.py") if one in self.sources), None)
            self.modules[name] = _parsed(name, path, self.sources[path]) if path else None
        return self.modules[name]

    def find(  # noqa: PLR0911 - one return a kind of binding
        self, module: Module, name: str, depth: int = 0
    ) -> tuple[Module, Definition] | None:
        """Where a name of a module is really defined, through imports."""
        bound = module.names.get(name)
        if depth > 12:
            return None
        if bound is None:
            for star in module.stars:
                inside = self.module(star)
                found = self.find(inside, name, depth + 1) if inside else None
                if found:
                    return found
            return None
        if isinstance(bound, ast.ImportFrom):
            source = _absolute(module, bound)
            original = next(alias.name for alias in bound.names if (alias.asname or alias.name) == name)
            inside = self.module(source)
            if inside is not None:
                found = self.find(inside, original, depth + 1)
                if found:
                    return found
            return None
        if isinstance(bound, ast.ClassDef | ast.FunctionDef | ast.expr):
            return module, bound
        return None

    def imported(self, module: Module, name: str) -> Module | None:
        """The module that a name stands for: `from vllm import envs`, `import vllm.envs as envs`."""
        bound = module.names.get(name)
        if isinstance(bound, ast.Import):
            alias = next(one for one in bound.names if (one.asname or top(one.name)) == name)
            return self.module(alias.name if alias.asname else top(alias.name))
        if isinstance(bound, ast.ImportFrom):
            original = next(alias.name for alias in bound.names if (alias.asname or alias.name) == name)
            return self.module(f"{_absolute(module, bound)}.{original}")
        return None


def top(name: str) -> str:
    """The package that a dotted name begins with."""
    return name.partition(".")[0]


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    keep = len(parts) - node.level + (1 if module.path.endswith("__init__.py") else 0)
    return ".".join([*parts[:keep], *([node.module] if node.module else [])])


def _parsed(name: str, path: str, text: str) -> Module:
    try:
        tree = ast.parse(text)
    except SyntaxError:  # written for a newer Python than this one
        tree = ast.Module(body=[], type_ignores=[])
    names: dict[str, ast.stmt | ast.expr] = {}
    stars: list[str] = []
    shell = Module(name, path, tree, {})
    for node in _bindings(tree.body):
        _bind(node, names, stars, shell)
    return Module(name, path, tree, names, tuple(stars))


def _bind(  # noqa: C901 - one case a kind of statement
    node: ast.stmt, names: dict[str, ast.stmt | ast.expr], stars: list[str], module: Module
) -> None:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        names[node.name] = node
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                names[target.id] = node.value
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        names[node.target.id] = node.value
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            if alias.name == "*":
                stars.append(_absolute(module, node))
            else:
                names[alias.asname or alias.name] = node
    elif isinstance(node, ast.Import):
        for alias in node.names:
            names[alias.asname or top(alias.name)] = node


def _bindings(body: Iterable[ast.stmt]) -> Iterable[ast.stmt]:
    """The statements of a module that run; what only a type checker sees does not."""
    for node in body:
        if isinstance(node, ast.If):
            yield from _bindings(node.orelse if _type_checking(node.test) else [*node.orelse, *node.body])
        elif isinstance(node, ast.Try):
            for handler in node.handlers:
                yield from _bindings(handler.body)
            yield from _bindings(node.body)
        elif isinstance(node, ast.With):
            yield from _bindings(node.body)
        else:
            yield node


def _type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
