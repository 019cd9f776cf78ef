"""JSON values held against the types that a release's configuration classes declare, as pydantic would read them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hosts.words import describe
from infra.flags.near import nearest_name, nearest_value
from infra.flags.replaced import KEYS
from infra.flags.table import Key, Nested, Shape

_YES_NO = frozenset(("0", "1", "t", "f", "y", "n", "true", "false", "yes", "no", "on", "off"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing in a JSON value that its class does not take."""

    path: tuple[str, ...]
    found: str
    wanted: str
    why: str = ""
    better: str | None = None
    """The key that was probably meant."""
    ignored: bool = False
    """Whether the engine drops the key without a word."""

    @property
    def where(self) -> str:
        """The path as people write it."""
        return ".".join(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Holds values against shapes, with the classes that the shapes name."""

    classes: Mapping[str, Nested]

    def faults(self, shape: Shape, value: object, path: tuple[str, ...] = ()) -> Iterator[Fault]:
        """What does not fit; nothing where the shape is not known."""
        if isinstance(shape, list):
            yield from self._union(shape, value, path)
        elif isinstance(shape, dict):
            yield from self._compound(shape, value, path)
        elif not _fits(shape, value):
            yield Fault(path=path, found=describe(value), wanted=spoken(shape))

    def _union(self, shapes: Sequence[Shape], value: object, path: tuple[str, ...]) -> Iterator[Fault]:
        choices = [one["one of"] for one in shapes if isinstance(one, dict) and "one of" in one]
        if len(choices) > 1:
            others = [one for one in shapes if not (isinstance(one, dict) and "one of" in one)]
            shapes = [*others, {"one of": list(dict.fromkeys(item for names in choices for item in names))}]
        if len([one for one in shapes if one != "none"]) == 1 and value is not None:
            yield from self.faults(next(one for one in shapes if one != "none"), value, path)
            return
        tried = [list(self.faults(one, value, path)) for one in shapes]
        if any(not faults for faults in tried):
            return
        deep = [faults for faults in tried if any(fault.path != path for fault in faults)]
        if deep:
            yield from min(deep, key=len)
        else:
            wanted = " or ".join(dict.fromkeys(spoken(one) for one in shapes if one != "none"))
            yield Fault(path=path, found=describe(value), wanted=wanted)

    def _compound(self, shape: Mapping[str, Shape], value: object, path: tuple[str, ...]) -> Iterator[Fault]:
        [(kind, inner)] = shape.items()
        if kind == "one of":
            yield from _choice(tuple(inner), value, path)
        elif kind == "class" or (kind == "made" and isinstance(value, Mapping)):
            yield from self._class(str(inner), value, path)
        elif kind in ("list", "dict"):
            yield from self._items(kind, inner, value, path)

    def _items(self, kind: str, inner: Shape, value: object, path: tuple[str, ...]) -> Iterator[Fault]:
        if isinstance(value, list | tuple) and kind == "list":
            for index, item in enumerate(value):
                yield from self.faults(inner, item, (*path, str(index)))
        elif isinstance(value, Mapping) and kind == "dict":
            for key, item in value.items():
                yield from self.faults(inner, item, (*path, str(key)))
        else:
            yield Fault(path=path, found=describe(value), wanted=spoken({kind: inner}))

    def _class(self, name: str, value: object, path: tuple[str, ...]) -> Iterator[Fault]:
        nested = self.classes.get(name)
        if nested is None:
            return
        if not isinstance(value, Mapping):
            yield Fault(path=path, found=describe(value), wanted=f"a mapping ({name})")
            return
        for key, item in value.items():
            here = (*path, str(key))
            entry = nested.keys.get(str(key))
            if entry is None and nested.open:
                continue
            if entry is None:
                yield self._unknown_key(name, nested, here)
                continue
            yield from self.faults(entry.shape, item, here)
            yield from _limit_faults(entry, item, here)

    def _unknown_key(self, name: str, nested: Nested, path: tuple[str, ...]) -> Fault:
        renamed = KEYS.get((name, path[-1]))
        near = renamed if renamed in nested.keys else nearest_name(path[-1], tuple(nested.keys))
        fault = Fault(
            path=path,
            found=".".join(path),
            wanted=f"a key of {name} ({_some(nested.keys)})",
            why="the class forbids other keys",
            better=near,
        )
        return fault if nested.closed else replace(fault, why="the key is dropped without a word", ignored=True)


def _choice(valid: tuple[object, ...], value: object, path: tuple[str, ...]) -> Iterator[Fault]:
    if any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in valid):
        return
    names = tuple(dict.fromkeys(str(one) for one in valid))
    near = nearest_value(str(value), names)
    yield Fault(path=path, found=describe(value), wanted=f"one of {', '.join(names)}", better=near)


def _limit_faults(entry: Key, value: object, path: tuple[str, ...]) -> Iterator[Fault]:
    if (
        entry.limits
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and not within(entry.limits, value)
    ):
        yield Fault(path=path, found=describe(value), wanted=f"a number {entry.limits}")


def within(limits: str, value: float) -> bool:
    """Whether a number keeps bounds such as ">0 <=1"."""
    for bound in limits.split():
        sign = bound.rstrip("0123456789.-+einf")
        number = float(bound.removeprefix(sign))
        kept = {">=": value >= number, ">": value > number, "<=": value <= number, "<": value < number}
        if not kept.get(sign, True):
            return False
    return True


def _fits(shape: str, value: object) -> bool:
    if shape in ("int", "float"):
        return _is_number(value, whole=shape == "int")
    if shape == "bool":
        text = value.lower() if isinstance(value, str) else str(int(value)) if isinstance(value, int) else ""
        return isinstance(value, bool) or text in _YES_NO or value in (0.0, 1.0)
    tests: Mapping[str, bool] = {
        "str": isinstance(value, str),
        "none": value is None,
        "list": isinstance(value, list | tuple),
        "dict": isinstance(value, Mapping),
    }
    return tests.get(shape, True)


def _is_number(value: object, *, whole: bool) -> bool:
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return False
        return (
            not whole
            or value.strip().lstrip("+-").replace("_", "").isdigit()
            or (number == number // 1 and "e" not in value)
        )
    if isinstance(value, int):
        return True
    return isinstance(value, float) and (not whole or value.is_integer())


def spoken(shape: Shape) -> str:
    """A shape in words."""
    if isinstance(shape, list):
        return " or ".join(dict.fromkeys(spoken(one) for one in shape if one != "none"))
    if isinstance(shape, dict):
        [(kind, inner)] = shape.items()
        if kind == "one of":
            return f"one of {', '.join(map(str, inner))}"
        return {"list": "a list", "dict": "a mapping"}.get(kind, f"a mapping ({inner})")
    names = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text", "none": "null"}
    return names.get(shape, f"a {shape}")


def _some(keys: Mapping[str, Key]) -> str:
    names = list(keys)
    return ", ".join(names) if len(names) <= 12 else ", ".join([*names[:12], "..."])
