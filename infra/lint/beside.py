"""What a command is given beside its words: variables, and the configuration file that the document writes."""

import re
from collections.abc import Iterator, Mapping

from infra.flags.check import Checked
from infra.flags.config_file import config_findings, option_words
from infra.flags.environment import environment_findings
from infra.flags.finding import Finding
from infra.flags.table import FlagTable
from infra.flags.words import Token
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
    path = _path(table, checked)
    config = parsed.get(path)
    if isinstance(config, Mapping):
        yield from config_findings(table, config, {key: f"line {line}" for key, line in _lines(files[path]).items()})


def configured(
    table: FlagTable, checked: Checked, parsed: Mapping[str, object], files: Mapping[str, Written]
) -> tuple[Token, ...] | None:
    """The words that the file of `--config` stands for, which those of the command outdo; None: it is not known."""
    path = _path(table, checked)
    config = parsed.get(path) if path else {}
    if not isinstance(config, Mapping):
        return None
    lines = _lines(files[path]) if path else {}
    return tuple(
        Token(text=word, line=lines.get(str(key), files[path].line))
        for key, value in config.items()
        for word in option_words(str(key), value)
    )


def _path(table: FlagTable, checked: Checked) -> str:
    """The file whose keys are options of the command, as it is written; "" where there is none."""
    if table.root or table.parser not in ("flexible", "argparse"):
        return ""
    return next((one.values[0].text for one in checked.options if one.name == "--config" and one.values), "")


def _lines(file: Written) -> dict[str, int]:
    """The line of each key that stands at the file's left edge."""
    rows = enumerate(file.text.split("\n"), start=file.line)
    return {key[1]: line for line, row in rows if (key := _KEY.match(row))}
