"""Every command is in docs/commands.md and shows an example in its --help; links and named files in the documents exist."""

import re
from pathlib import Path

import pytest

import tasks

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    path for path in ROOT.rglob("*.md") if not {".venv", ".pytest_cache", "node_modules"} & set(path.relative_to(ROOT).parts)
]


@pytest.mark.parametrize("name", sorted(tasks.ns.task_names))
def test_every_command_is_documented(name: str) -> None:
    """By its name in the table, and by an example in its own help."""
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert f"`{name}`" in text or f"invoke {name}" in text
    assert "Example: invoke" in (tasks.ns[name].__doc__ or "")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_resolve(document: Path) -> None:
    """Every relative link of a document leads to a file."""
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("mailto:"):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
