"""Every command is in docs/commands.md and shows an example in its --help, and the documents' links lead somewhere."""

import re
import textwrap
from pathlib import Path

import pytest

import tasks
from hosts import fleet as fleets
from hosts.schema import parse_yaml
from infra import placement
from infra.deployment import LauncherConfig, Parallelism
from tools.many_words import parser_contexts

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    path
    for path in ROOT.rglob("*.md")
    if not {".venv", ".pytest_cache", "node_modules"} & set(path.relative_to(ROOT).parts)
]


KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIG1hZGUgdXAsIGRvY3VtZW50YXRpb24gb25seTogbGdu"
"""An ed25519 public key of nobody, as in hosts/inventory/dgx-h200.yaml."""


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


def test_where_things_live() -> None:
    """Every path that the README's table of places names is there."""
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## Where things live")[1].split("\nOutside ")[0]
    paths = [path for row in table.splitlines() for path in re.findall(r"`([^`]+)`", row.partition(" | ")[0])]
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_documents_name_commands_that_exist(document: Path) -> None:
    """`invoke NAME` in a document is a command, or says so with an ellipsis."""
    named = set(re.findall(r"\binvoke (?!-)([a-z][a-z.-]*)(?!…)\b(?!…)", document.read_text(encoding="utf-8")))
    assert named - set(tasks.ns.task_names) - {"lab"} == set()


def test_the_example_fleet_can_be_read() -> None:
    """The fleet that the README shows is one, and a stack of eight GPUs fits on it."""
    (shown,) = re.findall(
        r"^   ```yaml\n(.*?)^   ```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    fleet = fleets.parse("alpha", parse_yaml(textwrap.dedent(shown).replace("AAAA…", KEY)), "README.md")
    assert fleet.slurm == "existing"
    assert [host.name for host in fleet.managed] == ["login"]
    slurm = LauncherConfig(name="slurm", partition="gpu", time="")
    assert list(placement.problems(Parallelism(tensor=8), slurm, fleet)) == []


CONTEXTS = {str(context.name): context for context in parser_contexts(tasks.ns)}


@pytest.mark.parametrize("name", sorted(tasks.ns.task_names))
def test_every_option_is_documented(name: str) -> None:
    """In the command's row of docs/commands.md or in its section; those that all commands share once for all."""
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if re.match(rf"\| `invoke {re.escape(name)}[ `]", line))
    section = re.search(rf"^## `{re.escape(name)}`$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    shown = row + (section[1] if section else "")
    options = [option for option in CONTEXTS[name].flags if option.startswith("--")]
    shared = {"--json", "--stack", *(f"--{argument.name}" for argument in CONTEXTS[name].positional_args)}
    missing = [option for option in options if not re.search(rf"{option}(?![a-z-])", shown) and option not in shared]
    assert missing == []
    known = {option for context in CONTEXTS.values() for option in context.flags}
    assert [option for option in re.findall(r"(?<![\w-])--[a-z-]+", row) if option not in known | {"--diff"}] == []
