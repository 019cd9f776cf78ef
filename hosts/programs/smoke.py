"""Asks a served model for completions and prints one JSON document; standard library only, runs on the login host.

smoke.py URL MODEL KEY_FILE [tools]
    of an https URL, the certificate must be that of endpoint.pem beside KEY_FILE
"""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from typing import Any

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


def trusting(url: str, key_file: str) -> "ssl.SSLContext | None":
    """Trust in the one certificate that the gateway shows, whatever its names and its authority; None without TLS."""
    if not url.startswith("https:"):
        return None
    context = ssl.create_default_context(cafile=os.path.join(os.path.dirname(key_file), "endpoint.pem"))
    context.check_hostname = False  # it is asked by its node's address; the pinned certificate itself says who it is
    context.verify_flags = ssl.VERIFY_X509_PARTIAL_CHAIN  # the pinned one need not be an authority's
    return context


def ask(url: str, key: str, body: dict[str, Any], trust: "ssl.SSLContext | None" = None) -> dict[str, Any]:
    """The server's answer, or {"error": text}."""
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
    )
    tls = [urllib.request.HTTPSHandler(context=trust)] if trust else []
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), *tls)
    try:
        with opener.open(request, timeout=300) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        return {"error": f"HTTP {error.code}: {error.read(400).decode('utf-8', 'replace')}"}
    except (OSError, ValueError) as error:
        return {"error": str(error)}


def turn(url: str, key: str, name: str, body: dict[str, Any], trust: "ssl.SSLContext | None") -> dict[str, Any]:
    """One request: what came back, as parsed by the server."""
    began = time.monotonic()
    answer = ask(url, key, body, trust)
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
    with open(key_file, encoding="utf-8") as file:
        key = file.read().strip()
    trust = trusting(url, key_file)
    hello = [{"role": "user", "content": "Say hello."}]
    rows = [turn(url, key, "completion", {"model": model, "messages": hello, "max_tokens": 32}, trust)]
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
        rows.append(turn(url, key, "tool call", body, trust))
        think = [{"role": "user", "content": "Think step by step: what is 2 + 2?"}]
        rows.append(turn(url, key, "reasoning", {"model": model, "messages": think, "max_tokens": 64}, trust))
    print(json.dumps(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
