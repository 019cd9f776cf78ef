"""The log of a stack's job, read on the login host; followed until told to stop."""

from collections.abc import Callable

from hosts.errors import Failed
from hosts.remote import Connect
from hosts.shell import PROGRESS, quote
from infra import paths
from infra.deployment import Deployment
from infra.operate.job import ask

HEARTBEAT_S = 30


def logs(d: Deployment, connect: Connect, lines: int) -> str:
    """The last lines of the newest job's log. Raises Failed where there is none."""
    out = ask(d.fleet, connect, f"{_newest(d)} && tail -n {lines} -- \"$log\" || echo '{PROGRESS}none'")[0]
    if not out.strip():
        raise Failed(
            f"{d.stack} has no job log under {paths.job_folder(d)}; was it ever up? `invoke status -s {d.stack}`"
        )
    return out


def follow(d: Deployment, connect: Connect, lines: int, show: Callable[[str], None]) -> None:
    """Passes each line on as it is written, from the last `lines` on; ends with the connection or with Cancelled."""
    script = (
        f"{_newest(d)} || exit 0\n"
        # a silent log must not look like a dead link
        f"( while sleep {HEARTBEAT_S}; do printf '{PROGRESS}\\n'; done ) & beat=$!; trap 'kill $beat' EXIT\n"
        f"tail -n {lines} -F -- \"$log\" 2>/dev/null | sed -u 's/^/{PROGRESS}/; s/$/ /'\n"
    )
    connect(d.fleet.login.name)(f"{{\n{script}}}\n", lambda line: show(line.rstrip()) if line else None)


def _newest(d: Deployment) -> str:
    return f'log=$(ls -t -- {quote(paths.job_folder(d))}/job-*.out 2>/dev/null | head -n 1); [ -n "$log" ]'
