"""The log of a stack's job, read on the login host; followed until told to stop."""

from collections.abc import Callable

from hosts.connection import Connect
from hosts.errors import Failed
from hosts.shell import PROGRESS, quote
from infra import paths
from infra.deployment import Deployment
from infra.operate.job import ask

HEARTBEAT_S = 10


def logs(d: Deployment, connect: Connect, lines: int) -> str:
    """The last lines of the newest job's log. Raises Failed where there is none."""
    out = ask(d.fleet, connect, f"{_newest(d)} && tail -n {lines} -- $log || echo '{PROGRESS}none'")[0]
    if not out.strip():
        raise Failed(
            f"{d.stack} has no job log under {paths.job_folder(d)}; was it ever up? `invoke status -s {d.stack}`"
        )
    return out


def follow(d: Deployment, connect: Connect, lines: int, show: Callable[[str], None]) -> None:
    """Passes each line on as it is written, from the last `lines` on; ends with the connection or with Cancelled."""
    script = (
        f"{_newest(d)} || exit 0\n"
        f"tail -n {lines} -F -- $log 2>/dev/null > >(exec sed -u 's/^/{PROGRESS}/; s/$/ /') & tail=$!\n"
        "trap 'kill $tail 2>/dev/null' EXIT; trap '' PIPE\n"
        # a silent log must not look like a dead link, nor may its reader outlive ours
        f"while sleep {HEARTBEAT_S} && kill -0 $tail; do printf '{PROGRESS}\\n' || exit; done 2>/dev/null\n"
    )
    connect(d.fleet.login.name)(f"{{\n{script}}}\n", lambda line: show(line.rstrip()) if line else None)


def _newest(d: Deployment) -> str:
    """Shell that sets `log` to the newest job's, or to those of all units, whose paths have no blanks."""
    folder = quote(paths.job_folder(d))
    return (
        f"log=$(ls -t -- {folder}/job-*.out 2>/dev/null | head -n 1); "
        f'[ -n "$log" ] || log=$(ls -- {folder}/*/*.log 2>/dev/null); [ -n "$log" ]'
    )
