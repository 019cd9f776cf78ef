"""What a static evaluation can know of a value: itself, the class or function that it is, or only its text."""

import ast
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from infra.flags.extract.program import Module

Known: TypeAlias = Any
"""A value of the package that is read: a plain one of Python's, or one of the classes below."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value that only the running package knows."""

    text: str

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, eq=False)
class ClassRef:
    """A class of the package."""

    module: Module
    node: ast.ClassDef

    def __repr__(self) -> str:
        return self.node.name


@dataclass(frozen=True, slots=True, eq=False)
class FunctionRef:
    """A function of the package, with the class that it was found on."""

    module: Module
    node: ast.FunctionDef
    owner: ClassRef | None = None

    def __repr__(self) -> str:
        return self.node.name


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an enum."""

    cls: str
    name: str
    value: Known

    def __repr__(self) -> str:
        return f"{self.cls}.{self.name}"


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """What calling a class of the package gave: `Arg(help=...)`."""

    cls: str
    args: tuple[Known, ...]
    keywords: dict[str, Known]

    def __repr__(self) -> str:
        return f"{self.cls}()"


@dataclass(frozen=True, slots=True)
class Added:
    """One call of `add_argument`."""

    names: tuple[str, ...]
    keywords: dict[str, Known]
    source: str
    group: str = ""


@dataclass(slots=True, eq=False)
class ParserObject:
    """A parser, or a group of one, that calls of `add_argument` are recorded on."""

    added: list[Added] = field(default_factory=list)
    group: str = ""
