"""A systemd unit as a value: what its process was started with, and what runs around a restart."""

from hosts.resources.system import Unit

WANTED = Unit(
    name="slurmd.service", fingerprint="ab12", reads=("11  /etc/slurm/slurm.conf", "22  /etc/slurm/gres.conf"),
    before="await controller", after="await node",
)  # fmt: skip
RUNNING = """\
LoadState=loaded
ActiveState=active
UnitFileState=enabled
NeedDaemonReload=no
SLIPWAY_FINGERPRINT=ab12
drop-in
"""


def test_a_unit_started_on_the_wanted_files_is_as_wanted() -> None:
    assert WANTED.parse(RUNNING + "read 11  /etc/slurm/slurm.conf\nread 22  /etc/slurm/gres.conf\n") == WANTED


def test_a_unit_started_on_an_edited_file_differs_even_after_the_file_was_put_right() -> None:
    actual = WANTED.parse(RUNNING + "read 99  /etc/slurm/slurm.conf\nread 22  /etc/slurm/gres.conf\n")
    assert actual is not None
    assert actual != WANTED
    assert actual.reads[0] == "99  /etc/slurm/slurm.conf"
    assert WANTED.parse(RUNNING) != WANTED, "nothing is known of what it was started on"


def test_what_runs_while_it_is_stopped_and_what_after() -> None:
    steps = list(WANTED.steps(None))
    order = [
        next(n for n, step in enumerate(steps) if text in step)
        for text in ("daemon-reload", "systemctl stop", "await controller", "systemctl restart", "await node")
    ]
    assert order == sorted(order)
    plain = "\n".join(Unit(name="munge.service", fingerprint="x").steps(None))
    assert "systemctl stop" not in plain
    assert "ExecStartPre" not in plain
