"""What must hold for every input: an answer or an InputError, soon."""

import contextlib
import json
import time

from hosts.errors import InputError
from infra import spec
from infra.lint.adopt import adopt
from infra.lint.lint import lint
from infra.lint.read import read

LIMIT_S = 5.0
"""Of the processor; far above what any of these inputs needs."""


def check_stack(data: object) -> None:
    """The stack parser gives a deployment or says what is wrong."""
    start = time.process_time()
    with contextlib.suppress(InputError):
        spec.parse("fuzz", data, "fuzz.yaml")
    assert time.process_time() - start < LIMIT_S


def check_reading(text: str, name: str) -> None:
    """The reader finds commands whose lines lie in the document."""
    start = time.process_time()
    document = read(text, name)
    lines = text.count("\n") + 1
    for launch in document.launches:
        assert launch.found.words
        assert 1 <= launch.line <= lines
        assert all(0 <= token.literal <= len(token.text) for token in launch.found.words if token.literal >= 0)
    assert time.process_time() - start < LIMIT_S


def check_lint(text: str, name: str) -> None:
    """Lint answers in its fixed shape, with words for people, and a stack file where a server is started."""
    start = time.process_time()
    result = lint(text, name)
    answer = json.loads(json.dumps(result.to_json()))
    assert answer["ok"] is not any(problem["level"] == "error" for problem in answer["problems"])
    assert result.text().endswith("\n")
    with contextlib.suppress(InputError):
        assert adopt(result, "fuzz").startswith("# fuzz")
    assert time.process_time() - start < LIMIT_S
