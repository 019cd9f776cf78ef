"""docs/rules.md, made of the registry: what is refused, at which level, why, and who says so."""

from collections.abc import Iterator

from infra.rules.registry import GROUPS
from infra.rules.rule import Rule
from infra.rules.script import ScriptRule
from infra.rules.undecided import UNDECIDED

HEAD = """\
# Rules

What engines, models and machines demand of a command beyond what its parser takes. Made from the registry in
`infra/rules/` by `python -m infra.rules.document > docs/rules.md`; a test holds the two together.

`invoke lint`, `invoke plan` and `pulumi preview` print a rule's name with each problem. An *error* is what the engine
refuses or what would not work as meant; a *warning* runs, and is wrong, without effect or deprecated. Rules speak only
of what they know: a value of run time, a machine that is not given or a model that is not recognised break none. They
hold for all releases with a flag table, except where they name some.
"""
UNDECIDED_HEAD = """\
## What a text can't decide

| what | why | instead |
|---|---|---|
"""


def document() -> str:
    """The text of docs/rules.md."""
    groups = "".join(_group(title, rules) for title, rules in GROUPS)
    return f"{HEAD}{groups}\n{UNDECIDED_HEAD}{''.join(_undecided())}"


def _group(title: str, rules: tuple[Rule, ...] | tuple[ScriptRule, ...]) -> str:
    rows = "".join(_row(rule) for rule in rules)
    return f"\n## {title}\n\n| rule | level | refuses | why | for | source |\n|---|---|---|---|---|---|\n{rows}"


def _row(rule: Rule | ScriptRule) -> str:
    cells = (f"`{rule.name}`", rule.level, rule.title, rule.why, _holds_for(rule), rule.source)
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |\n"


def _holds_for(rule: Rule | ScriptRule) -> str:
    if isinstance(rule, ScriptRule):
        return "documents"
    words = ", ".join(sorted(rule.engines))
    if rule.since:
        words += f" from {rule.since}"
    if rule.below:
        words += f" below {rule.below}"
    return words


def _undecided() -> Iterator[str]:
    for cells in UNDECIDED:
        yield "| " + " | ".join(_cell(cell) for cell in cells) + " |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(document(), end="")
