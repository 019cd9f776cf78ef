"""What the provider logs: text from machines reaches the engine, and so a terminal, escaped."""

from infra.provider import StageProvider


def test_a_log_line_does_not_command_the_terminal() -> None:
    logged: list[str] = []
    provider = StageProvider(lambda _severity, message, _urn, _ephemeral: logged.append(message))
    was = {"hosts": {"n1": {"file:/etc/\x1b[31mx": {"kind": "File", "content": "a"}}}}
    now = {"hosts": {"n1": {"file:/etc/\x1b[31mx": {"kind": "File", "content": "b"}}}}
    provider.diff("urn", was, now)
    assert logged == ["n1: ~ file:/etc/\\x1b[31mx (content)"]
