"""The log of a stack's job, read on the login host; followed until told to stop."""

from collections.abc import Callable

from hosts.connection import Connect
from hosts.converge import cut_short
from hosts.errors import Failed, Truncated
from hosts.shell import PROGRESS, quote
from infra import paths
from infra.deployment import Deployment
from infra.operate.job import ask, claimed_probe

HEARTBEAT_S = 10
GONE = 3
"""What the following shell exits with when no log is there any more."""


def logs(d: Deployment, connect: Connect, lines: int) -> str:
    """The last lines of the newest job's log. Raises Failed where there is none, saying why."""
    there = f"if {_newest(d)}; then echo yes; fi"
    claimed, found, out = ask(d.fleet, connect, claimed_probe(d), there, f"{_newest(d)} && tail -n {lines} -- $log")
    if found.strip():
        return out
    if claimed.strip():
        raise Failed(f"{d.stack} has no log yet: it is claimed, and nothing was started; run `pulumi up -s {d.stack}`")
    raise Failed(
        f"{d.stack} has no log: it is not up (absent), and a teardown removes its logs with {paths.job_folder(d)}; "
        f"run `pulumi up -s {d.stack}`"
    )


def follow(d: Deployment, connect: Connect, lines: int, show: Callable[[str], None]) -> None:
    """Passes each line on as it is written, from the last `lines` on.

    Ends with the connection or with Cancelled. Raises Failed where there is no log, or it goes meanwhile.
    """
    logs(d, connect, 1)
    script = (
        f"{_newest(d)} || exit {GONE}\n"
        f"tail -n {lines} -F -- $log 2>/dev/null > >(exec sed -u 's/^/{PROGRESS}/; s/$/ /') & tail=$!\n"
        "trap 'kill $tail 2>/dev/null' EXIT; trap '' PIPE\n"
        # a silent log must not look like a dead link, nor may its reader outlive ours
        f"while sleep {HEARTBEAT_S} && kill -0 $tail; do\n"
        f"  ls -- $log >/dev/null || {{ {_newest(d)} || exit {GONE}; }}\n"
        f"  printf '{PROGRESS}\\n' || exit\n"
        "done 2>/dev/null\n"
    )
    output = connect(d.fleet.login.name)(f"{{\n{script}}}\n", lambda line: show(line.rstrip()) if line else None)
    if output.status == GONE:
        raise Failed(f"the log of {d.stack} is gone: it was torn down; `invoke status -s {d.stack}`")
    if output.status < 0:
        raise Truncated(f"{d.fleet.login.name}: {cut_short(output)}; run `invoke logs -s {d.stack} -f` again")


def _newest(d: Deployment) -> str:
    """Shell that sets `log` to the newest job's, or to those of all units, whose paths have no blanks."""
    folder = quote(paths.job_folder(d))
    return (
        f"log=$(ls -t -- {folder}/job-*.out 2>/dev/null | head -n 1); "
        f'[ -n "$log" ] || log=$(ls -- {folder}/*/*.log 2>/dev/null); [ -n "$log" ]'
    )
