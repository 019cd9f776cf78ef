"""The registry: every rule, in the order in which problems are told."""

from infra.rules.rule import Rule
from infra.rules.script import ScriptRule

RULES: tuple[Rule, ...] = ()
SCRIPT_RULES: tuple[ScriptRule, ...] = ()
