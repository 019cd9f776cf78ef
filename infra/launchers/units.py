"""systemd units that own a launcher's processes where there is no SLURM: one a process, enabled, with its own log."""

from collections.abc import Mapping, Sequence

from hosts.resources.files import Directory, File
from hosts.resources.system import Unit
from hosts.state import Resource
from infra import paths
from infra.deployment import Deployment
from infra.launchers import container
from infra.launchers.process import Process, on_host
from roles import render

FOLDER = "/etc/systemd/system"
HELPER = "unit.sh"


def name(d: Deployment, process: Process) -> str:
    """The unit of a process; stack names have no dot, and no process's name begins with another stack's rest."""
    return f"slipway-{d.stack}.{process.name}.service"


def unit(d: Deployment, process: Process) -> str:
    """The unit: it comes back once in ten minutes after its end, and after a reboot of its host."""
    folder = paths.job_folder(d)
    helper = f"/bin/bash {folder}/{HELPER}"
    script, log = f"{folder}/{process.script}", f"{folder}/{process.log}"
    devices = ",".join(map(str, process.devices))
    named = f"{process.host} {process.name} {len(process.devices)} {paths.run_folder(d)}/{process.name}"
    named += f" {container.name(d, process.name)}" if process.is_container else ""
    return "\n".join(
        (
            "[Unit]",
            f"Description=Slipway {d.stack}: {process.what}",
            "Wants=network-online.target",
            "After=network-online.target",
            f"RequiresMountsFor={folder}",
            "StartLimitIntervalSec=600",
            "StartLimitBurst=2",
            "",
            "[Service]",
            f"User={paths.run_user(d.fleet)}",
            f"Environment=SLIPWAY_STACK={d.stack}",
            f"Environment={paths.RUN}={paths.run_folder(d)}",
            # one for all units of the stack on the host, which no end of one takes from the others
            f"RuntimeDirectory={paths.run_folder(d).removeprefix('/run/')}",
            "RuntimeDirectoryMode=0700",
            "RuntimeDirectoryPreserve=yes",
            *([f"Environment=CUDA_VISIBLE_DEVICES={devices}"] if devices and not process.contained else []),
            f"ExecStartPre={helper} begin {named}",
            f"ExecStart=/bin/bash -c 'exec /bin/bash {script} >>{log} 2>&1'",
            f"ExecStopPost={helper} end {named}",
            "Restart=always",  # a rank that ends well because another one did is missed as well
            "RestartSec=3",
            "KillMode=mixed",
            "TimeoutStopSec=30",
            "LimitMEMLOCK=infinity",
            "LimitNOFILE=1048576",
            "",
            "[Install]",
            "WantedBy=multi-user.target",
            "",
        )
    )


def helper(d: Deployment) -> File:
    """What the units run before and after a process."""
    folder, user, group = paths.job_folder(d), paths.run_user(d.fleet), paths.run_group(d.fleet)
    text = render("unit.sh.j2", stack=d.stack, folder=folder)
    return File(path=f"{folder}/{HELPER}", content=text, owner=user, group=group)


def resources(
    d: Deployment, processes: Sequence[Process], files: Mapping[str, str], marks: Mapping[str, str]
) -> dict[str, tuple[Resource, ...]]:
    """The unit files and units of each host, in the order in which they start."""
    made: dict[str, tuple[Resource, ...]] = {}
    for host in dict.fromkeys(process.host for process in processes):
        # after a restart of the host systemd makes it anew; it is here for its removal with the stack
        made[host] = (Directory(path=paths.run_folder(d), mode="0700", owner=paths.run_user(d.fleet), purge=True),)
        for process in on_host(processes, host):
            it = name(d, process)
            file = File(path=f"{FOLDER}/{it}", content=files[f"{host}/{it}"])
            started = Unit(name=it, fingerprint=marks[process.script], log=f"{paths.job_folder(d)}/{process.log}")
            made[host] = (*made[host], file, started)
    return made
