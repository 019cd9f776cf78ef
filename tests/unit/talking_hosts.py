"""Fake hosts for tests of what operates stacks: a host is a function from a script to what its probes print."""

import re
from collections.abc import Mapping

from hosts.connection import Connect, Output, Progress, Remote
from hosts.errors import Unreachable
from hosts.shell import token_of

FRAME = re.compile(r"printf '\x1e%s (\d+)\\n' \"\$slipway_token\"\n")


class Hosts:
    """Hosts by name, each with (words of a probe, what it then prints); any other host is unreachable.

    `asked` keeps every script in order, with the name of its host.
    """

    def __init__(self, answers: Mapping[str, Mapping[str, str]]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str]] = []

    def __call__(self, name: str) -> Remote:
        if name not in self.answers:
            raise Unreachable(f"{name}: no answer")

        def run(script: str, progress: Progress | None = None) -> Output:  # noqa: ARG001
            self.asked.append((name, script))
            mark = f"\x1e{token_of(script)} "
            parts = FRAME.split(script)[1:]
            frames = "".join(
                f"{mark}{n}\n{self._said(name, probe)}\n{mark}{n}=0\n"
                for n, probe in zip(parts[::2], parts[1::2], strict=True)
            )
            return Output(stdout=f"{frames}{mark}end\n", stderr="", status=0)

        return run

    def _said(self, name: str, probe: str) -> str:
        return next((said for words, said in self.answers[name].items() if words in probe), "")


def connect(answers: Mapping[str, Mapping[str, str]]) -> Connect:
    """The same, where nobody looks at what was asked."""
    return Hosts(answers)
