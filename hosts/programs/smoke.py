"""Asks a served model for completions and prints one JSON document; standard library only, runs on the login host.

smoke.py URL MODEL KEY_FILE [tools]
    what answers at URL must prove to be the gateway of the stack whose folder KEY_FILE is in
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
from typing import Any

from hosts.programs.client import connected, post, text_of

ANSWER_TIMEOUT_S = 300

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}

CALL = (
    r"<\|tool_calls_section_begin\|><\|tool_call_begin\|>functions\.get_weather:0<\|tool_call_argument_begin\|>"
    r"\{\"city\": \"[A-Za-z]{3,12}\"\}<\|tool_call_end\|><\|tool_calls_section_end\|>"
)
"""What Kimi writes to call the tool; the server holds the model to it, so the parser is tested whatever the weights."""


def ask(url: str, key_file: str, body: dict[str, Any]) -> dict[str, Any]:
    """The server's answer, or {"error": text}."""
    try:
        connection = connected(url, os.path.dirname(key_file), ANSWER_TIMEOUT_S)
        try:
            status, answer = post(connection, text_of(key_file), body)
        finally:
            connection.close()
        if status != 200:
            return {"error": f"HTTP {status}: {answer[:400].decode('utf-8', 'replace')}"}
        found: dict[str, Any] = json.loads(answer)
        return found
    except (OSError, ValueError, http.client.HTTPException) as error:
        return {"error": str(error) or type(error).__name__}


def turn(url: str, key_file: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
    """One request: what came back, as parsed by the server."""
    began = time.monotonic()
    answer = ask(url, key_file, body)
    row: dict[str, Any] = {"name": name, "seconds": round(time.monotonic() - began, 3), "error": answer.get("error")}
    message = (answer.get("choices") or [{}])[0].get("message") or {}
    row["tokens"] = int((answer.get("usage") or {}).get("completion_tokens") or 0)
    row["text"] = message.get("content") or ""
    row["reasoning"] = message.get("reasoning") or message.get("reasoning_content") or ""
    row["tool_calls"] = message.get("tool_calls") or []
    row["finish_reason"] = (answer.get("choices") or [{}])[0].get("finish_reason")
    return row


def main(url: str, model: str, key_file: str, mode: str = "") -> None:
    """Prints the document."""
    hello = [{"role": "user", "content": "Say hello."}]
    rows = [turn(url, key_file, "completion", {"model": model, "messages": hello, "max_tokens": 32})]
    if mode == "tools":
        ask_tool = [{"role": "user", "content": "What is the weather in Sofia? Use the tool."}]
        body = {
            "model": model,
            "messages": ask_tool,
            "max_tokens": 300,
            "tools": [TOOL],
            "structured_outputs": {"regex": CALL},
            "chat_template_kwargs": {"thinking": False},
        }
        rows.append(turn(url, key_file, "tool call", body))
        think = [{"role": "user", "content": "Think step by step: what is 2 + 2?"}]
        rows.append(turn(url, key_file, "reasoning", {"model": model, "messages": think, "max_tokens": 64}))
    print(json.dumps(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
