"""docs/rules.md says what the registry says."""

from pathlib import Path

from infra.rules import RULES, SCRIPT_RULES
from infra.rules.document import document

DOCUMENT = Path(__file__).parents[3] / "docs/rules.md"


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "python -m infra.rules.document > docs/rules.md"


def test_every_rule_is_in_it() -> None:
    text = document()
    names = [(rule.name, rule.level) for rule in RULES] + [(rule.name, rule.level) for rule in SCRIPT_RULES]
    for name, level in names:
        assert f"| `{name}` | {level} |" in text
