"""Asks a stack's model for tokens, from the login host; the key is read there and goes nowhere else."""

import json
from dataclasses import dataclass
from typing import Any

from hosts.connection import Connect
from hosts.errors import Failed
from hosts.resources.programs import run
from hosts.text import printable
from infra import paths
from infra.deployment import Deployment
from infra.operate.job import ask, claimed_probe
from infra.operate.status import endpoint_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoke:
    """What came back: one row a request, as the server parsed it."""

    stack: str
    endpoint: str
    model: str
    rows: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, object]:
        """The document; `tokens`, `text` and `seconds` are the plain completion's."""
        first = self.rows[0]
        return {
            "stack": self.stack,
            "endpoint": self.endpoint,
            "model": self.model,
            "tokens": first["tokens"],
            "text": first["text"] or first["reasoning"],
            "seconds": first["seconds"],
            "requests": list(self.rows),
        }

    def text(self) -> str:
        """For people."""
        lines = [f"{self.stack}: {self.model} at {self.endpoint}"]
        for row in self.rows:
            ended = printable(str(row["finish_reason"]), keep="")
            lines.append(f"  {row['name']}: {row['tokens']} tokens in {row['seconds']} s, finished by {ended}")
            if row["reasoning"]:
                lines.append(f"    reasoning: {row['reasoning']!r}")
            if row["text"]:
                lines.append(f"    text:      {row['text']!r}")
            lines += [f"    tool call: {call.get('function', {})}" for call in row["tool_calls"]]
            if row["name"] == "tool call":
                lines.append("    (its form was imposed by the server: this proves the parser, not the model)")
        return "\n".join(lines)


def smoke(d: Deployment, connect: Connect, *, tools: bool = False) -> Smoke:
    """One completion, with `tools` also a tool call and a reasoning reply. Raises Failed where no token came back, and
    where the stack is not up."""
    endpoint = endpoint_of(d)
    claimed, ready = (out.strip() for out in ask(d.fleet, connect, claimed_probe(d), endpoint.probe()))
    if not claimed:
        raise Failed(f"{d.stack} is not up (absent): run `pulumi up -s {d.stack}`")
    url = endpoint.observed(ready).get("endpoint", "")
    if not url:
        raise Failed(
            f"{d.stack}: {ready or 'not ready'}; `invoke status -s {d.stack}` and `invoke logs -s {d.stack}` say more"
        )
    program = run("smoke", url, d.served_name, paths.api_key(d), *(["tools"] if tools else []))
    out = ask(d.fleet, connect, program, patient=True)[0].strip()
    try:
        rows = tuple(json.loads(out.splitlines()[-1]))
    except (ValueError, IndexError):
        raise Failed(f"{d.stack}: the request failed on {d.fleet.login.name}: {out[-400:]}") from None
    wrong = [f"{row['name']}: {_why(row)}" for row in rows if _why(row)]
    if wrong:
        raise Failed(f"{d.stack} at {url} answers, but not as it should:\n" + "\n".join(f"  {line}" for line in wrong))
    return Smoke(stack=d.stack, endpoint=url, model=d.served_name, rows=rows)


def _why(row: dict[str, Any]) -> str:
    """What is wrong with one answer; "" where nothing is."""
    if row["error"]:
        return printable(str(row["error"]), keep="")
    if row["tokens"] < 1:
        return "no token in the answer"
    return "no tool call was parsed from the text" if row["name"] == "tool call" and not row["tool_calls"] else ""
