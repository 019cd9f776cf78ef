"""What all suites share: golden files, compared byte for byte and rewritten with `--update-golden`."""

import difflib
from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"
Golden = Callable[[str, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files; review the diff")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compares a text with the golden file of that name below tests/golden."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        wanted = path.read_text(encoding="utf-8") if path.exists() else ""
        if wanted != text:
            lines = difflib.unified_diff(wanted.splitlines(), text.splitlines(), name, "rendered now", lineterm="", n=2)
            pytest.fail(
                "\n".join((*lines, "if this is meant: pytest --update-golden, and review the diff")), pytrace=False
            )

    return compare
