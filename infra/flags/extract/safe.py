"""Python's own functions, methods and operators that an evaluation may use: they neither read nor change anything."""

import ast
import operator
from collections.abc import Callable, Mapping
from itertools import permutations

from infra.flags.extract.values import Known

METHODS: Mapping[type, frozenset[str]] = {
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
BUILTINS: Mapping[str, Callable[..., Known]] = {
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
OPERATORS: Mapping[type, Callable[[Known, Known], Known]] = {
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
COMPARISONS: Mapping[type, Callable[[Known, Known], Known]] = {
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
