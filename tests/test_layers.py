"""Imports point down, and only the modules named here touch processes, networks, the environment or the clock."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("hosts", "roles", "infra", "lab", "tools", "bench", "tasks")
BELOW: dict[str, tuple[str, ...]] = {
    "hosts": ("hosts",),
    "roles": ("roles", "hosts"),
    "infra": ("infra", "roles", "hosts"),
    "lab": ("lab", "hosts"),
    "tools": ("tools", "lab", "infra", "hosts"),
    "tasks": OURS,
    "bench": OURS,
}
IO_MODULES = ("fabric", "paramiko", "pulumi", "invoke", "subprocess")
MAY_DO_IO = (
    "hosts/remote.py",
    "hosts/converge.py",
    "hosts/programs/",
    "infra/provider.py",
    "infra/rpc.py",
    "infra/components.py",
    "infra/__main__.py",
    "infra/launchers/kubernetes.py",
    "tasks.py",
    "lab/",
    "tools/",
    "bench/",
)
CLOCK_OR_ENVIRONMENT = {
    ("os", "environ"),
    ("os", "getenv"),
    ("time", "time"),
    ("time", "monotonic"),
    ("time", "sleep"),
    ("datetime", "now"),
    ("datetime", "today"),
}


def modules() -> list[Path]:
    """Every Python module of the product."""
    found = [ROOT / "tasks.py"]
    for layer in OURS:
        found += (ROOT / layer).rglob("*.py")
    return sorted(path for path in found if path.is_file())


def imported(tree: ast.Module) -> set[str]:
    """The dotted names of all imports, wherever they stand."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level)
    return names


def top(name: str) -> str:
    """The package that a dotted name begins with."""
    return name.partition(".")[0]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_layers(path: Path) -> None:
    """No import points up or sideways, and I/O stays where it belongs."""
    place = str(path.relative_to(ROOT))
    layer = place.partition("/")[0].removesuffix(".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = imported(tree)
    upward = {n for n in names if top(n) in OURS and top(n) not in BELOW[layer]}
    assert not upward, f"{place} imports from a layer that is not below it"
    assert not {n for n in names if n.startswith(".")}, f"{place} has a relative import"
    for kind, other in (("engines", "launchers"), ("launchers", "engines")):
        if place.startswith(f"infra/{kind}/") and not place.endswith("__init__.py"):
            sideways = {n for n in names if n.startswith(f"infra.{other}.")}
            assert not sideways, f"{place}: engines and launchers don't import each other"
    if place.startswith(MAY_DO_IO):
        return
    io = {n for n in names if top(n) in IO_MODULES}
    assert not io, f"{place} may not import {io} (DESIGN.md 2)"
    touched = {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in CLOCK_OR_ENVIRONMENT
    }
    assert not touched, f"{place} reads the environment or the clock: {touched}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_first_line_says_the_one_thing(path: Path) -> None:
    """Every module opens with a docstring."""
    found = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert found, "a module says in its first line what it is for"
