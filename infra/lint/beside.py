"""What a command is given beside its words: variables, and the configuration file that the document writes."""

import re
from collections.abc import Iterator, Mapping

from infra.flags.check import Checked
from infra.flags.config_file import config_findings
from infra.flags.environment import environment_findings
from infra.flags.finding import Finding
from infra.flags.table import FlagTable
from infra.lint.document import Launch, Written

_KEY = re.compile(r"[\"']?([\w.-]+)[\"']?[ \t]*:")


def variables(table: FlagTable, other: FlagTable | None, launch: Launch) -> Iterator[Finding]:
    """Variables that the release does not read; where it lies between two tables, those that neither has."""
    names = {name: f"line {launch.env_lines.get(name, launch.line)}" for name in (*launch.env_lines, *launch.env)}
    agreed = None if other is None else {found.problem.token for found in environment_findings(other, names)}
    for found in environment_findings(table, names):
        if agreed is None or found.problem.token in agreed:
            yield found


def configuration(
    table: FlagTable, checked: Checked, parsed: Mapping[str, object], files: Mapping[str, Written]
) -> Iterator[Finding]:
    """What the release refuses in the file of `--config`; TensorRT-LLM's is the matter of the rule trtllm-yaml."""
    if table.root or table.parser not in ("flexible", "argparse"):
        return
    path = next((one.values[0].text for one in checked.options if one.name == "--config" and one.values), "")
    config = parsed.get(path)
    if isinstance(config, Mapping):
        yield from config_findings(table, config, _places(files[path]))


def _places(file: Written) -> dict[str, str]:
    """The line of each key that stands at the file's left edge."""
    rows = enumerate(file.text.split("\n"), start=file.line)
    return {key[1]: f"line {line}" for line, row in rows if (key := _KEY.match(row))}
