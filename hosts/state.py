"""Desired and actual as values of one class, the difference between them, and their form on the wire."""

import difflib
import hashlib
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Protocol, Self

Value = str | bool | tuple[str, ...]
WireValue = str | bool | list[str]
Wire = dict[str, WireValue]


class Resource(Protocol):
    """One thing a host should have; fields are text, booleans or tuples of text (numbers do not survive the wire)."""

    kind: ClassVar[str]
    removable: ClassVar[bool]

    @property
    def key(self) -> str:
        """Unique on its host, for example `file:/etc/slurm/slurm.conf`."""

    def probe(self) -> str:
        """Shell that prints the actual state, the same text for the same state; never changes anything, never fails."""

    def parse(self, out: str) -> Self | None:
        """The actual state in the same type; None is absent. Raises Unknown where the output does not tell."""

    def steps(self, actual: Self | None) -> Iterator[str]:
        """Shell that turns `actual` into this, a few lines each, run under `set -euo pipefail`."""

    def remove(self) -> Iterator[str]:
        """Shell that makes it absent; must succeed where it is absent already."""

    def observed(self, out: str) -> Mapping[str, str]:
        """What the probe saw that nobody desires but somebody wants to read (an endpoint's address)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What every kind shares: it observes nothing unless it says so, and can be taken away again."""

    removable: ClassVar[bool] = True
    """False for what is only looked at: taking a stage away passes it over."""

    def observed(self, out: str) -> Mapping[str, str]:  # noqa: ARG002
        """Nothing."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A barrier across hosts: what each host, by its name in the fleet, must have before the next stage starts.

    `keep`: deleting the stage releases its claims and leaves the rest where it is (cluster stages, shared artifacts).
    `lock`: changes are made under the host's lock; False for work that is long, and safe beside other runs.
    """

    name: str
    hosts: Mapping[str, tuple[Resource, ...]]
    keep: bool = False
    lock: bool = True

    def __post_init__(self) -> None:
        for host, resources in self.hosts.items():
            keys = [resource.key for resource in resources]
            for key in set(keys):
                if keys.count(key) > 1:
                    raise ValueError(f"stage {self.name}: {key} is declared twice on {host}")
        object.__setattr__(self, "hosts", types.MappingProxyType(dict(self.hosts)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One resource of one host that is not as it should be; `desired` None means that it must go."""

    host: str
    key: str
    desired: Resource | None
    actual: Resource | None
    before: str = ""
    """The probe's output that the change was planned from; re-checked under the lock."""
    probed: Resource | None = None
    """The resource whose probe that was, where it is to go: what is there may be probed with other words."""

    def steps(self) -> tuple[str, ...]:
        """The shell that makes the change."""
        if self.desired is None:
            assert self.actual is not None
            return tuple(self.actual.remove())
        return tuple(self.desired.steps(self.actual))

    def probe(self) -> str:
        """The probe of the resource concerned."""
        resource = self.desired or self.probed or self.actual
        assert resource is not None
        return resource.probe()

    def diff(self) -> str:
        """A unified diff of the fields that differ, texts of several lines line by line; "" never happens."""
        if self.actual is None:
            return f"+ {self.key}"
        if self.desired is None:
            return f"- {self.key}"
        lines = [f"~ {self.key}"]
        for name, was, wanted in differences(self.actual, self.desired):
            lines += [f"    {line}" for line in _field_diff(name, was, wanted)]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The changes of one stage, and the reasons why it must not be applied."""

    stage: str
    changes: tuple[Change, ...]
    blocked: tuple[str, ...] = ()

    def of(self, host: str) -> tuple[Change, ...]:
        """The changes of one host, in the order they are made."""
        return tuple(change for change in self.changes if change.host == host)


def differences(actual: Resource, desired: Resource) -> Iterator[tuple[str, Value, Value]]:
    """(field, actual, desired) for each field that differs."""
    for field in fields(desired):  # type: ignore[arg-type]
        was, wanted = getattr(actual, field.name), getattr(desired, field.name)
        if was != wanted:
            yield field.name, was, wanted


def _field_diff(name: str, was: Value, wanted: Value) -> Iterator[str]:
    before, after = _lines(was), _lines(wanted)
    if len(before) <= 1 and len(after) <= 1:
        yield f"{name}: {was!r} => {wanted!r}"
        return
    if before == after:
        yield f"{name}: the same lines, with other ends"
        return
    yield f"{name}:"
    for line in list(difflib.unified_diff(before, after, lineterm="", n=1))[2:]:
        yield f"  {line}"


def _lines(value: Value) -> list[str]:
    if isinstance(value, tuple):
        return list(value)
    return value.splitlines() if isinstance(value, str) else [str(value)]


def to_wire(resource: Resource) -> Wire:
    """The form that crosses to Pulumi: kind and fields; tuples as lists, bytes that are no UTF-8 as escapes."""
    wire: Wire = {"kind": resource.kind}
    for field in fields(resource):  # type: ignore[arg-type]
        value = getattr(resource, field.name)
        if isinstance(value, tuple):
            wire[field.name] = [_clean(item) for item in value]
        else:
            wire[field.name] = value if isinstance(value, bool) else _clean(value)
    return wire


def _clean(value: str) -> str:
    return value.encode("utf-8", "backslashreplace").decode()


def from_wire(wire: Mapping[str, object], kinds: Mapping[str, type[Resource]]) -> Resource:
    """The resource that `to_wire` wrote. Raises ValueError on an unknown kind, field or type."""
    kind = wire.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError(f"unknown kind of resource: {kind!r}; known: {', '.join(sorted(kinds))}")
    known = {field.name for field in fields(kinds[kind])}  # type: ignore[arg-type]
    values: dict[str, Value] = {}
    for name, value in wire.items():
        if name == "kind":
            continue
        if name not in known:
            raise ValueError(f"{kind} has no field {name!r}; fields: {', '.join(sorted(known))}")
        if isinstance(value, Sequence) and not isinstance(value, str):
            values[name] = tuple(_text(f"{kind}.{name}", item) for item in value)
        elif isinstance(value, str | bool):
            values[name] = value
        else:
            raise ValueError(f"{kind}.{name} is {type(value).__name__}; the wire carries text, booleans and lists")
    return kinds[kind](**values)


def _text(place: str, item: object) -> str:
    if not isinstance(item, str):
        raise ValueError(f"{place} has an item that is {type(item).__name__}; lists carry text")
    return item


def fingerprint(*parts: str) -> str:
    """sha256 over parts, 16 hex digits: what a process is labelled with, so that a restart is a difference."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]
