"""The short flags of all commands: each means one thing everywhere, and no other option has one.

It lies in the lab since the lab's commands have them too, and the lab may import nothing of ours but `hosts`.
"""

from typing import Any

from invoke.tasks import Task

SHORT = {"stack": "s", "json": "j", "follow": "f", "yes": "y", "lines": "n"}
"""By option; `-h` is Invoke's own `--help`."""


class Command(Task):  # type: ignore[type-arg]
    """A task whose options have the short flags of SHORT, in place of those that Invoke makes of their letters."""

    def arg_opts(self, name: str, default: str, taken_names: set[str]) -> dict[str, Any]:
        """Invoke's description of one option."""
        described = super().arg_opts(name, default, taken_names)
        described["names"] = [described["names"][0], *([SHORT[name]] if name in SHORT else [])]
        return described
