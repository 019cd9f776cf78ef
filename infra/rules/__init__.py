"""What engines, models and machines demand of a command beyond its parser: rules, each with its source."""

from collections.abc import Iterator

from infra.flags.finding import Finding
from infra.rules.command import Context, of_command
from infra.rules.registry import RULES, SCRIPT_RULES
from infra.rules.rule import Breach, Rule
from infra.rules.script import Script, ScriptFinding, ScriptRule, Step
from infra.rules.subject import Subject, normal

__all__ = [
    "RULES",
    "SCRIPT_RULES",
    "Breach",
    "Context",
    "Rule",
    "Script",
    "ScriptFinding",
    "ScriptRule",
    "Step",
    "Subject",
    "findings",
    "of_command",
    "script_findings",
]


def findings(subject: Subject) -> Iterator[Finding]:
    """Everything that is wrong with one command, in the order of the registry."""
    subject = normal(subject)
    for rule in RULES:
        yield from rule.findings(subject)


def script_findings(script: Script) -> Iterator[ScriptFinding]:
    """Everything that is wrong with a document's commands taken together, and with those that start no engine."""
    for rule in SCRIPT_RULES:
        yield from rule.findings(script)
