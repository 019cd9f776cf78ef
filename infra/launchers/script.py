"""The shell script and the systemd unit of one process, for launchers that start processes on hosts themselves."""

from collections.abc import Mapping, Sequence

from hosts.fleet import Host
from hosts.shell import quote
from hosts.state import fingerprint
from infra import paths, runtime
from infra.command import Command
from infra.deployment import Deployment
from infra.placement import Rank

API_KEY = "api-key"


def marked(d: Deployment, commands: Sequence[Command], files: Mapping[str, str]) -> str:
    """The fingerprint of what the processes are started from."""
    lines = (command.line() for command in commands)
    return fingerprint(*lines, *files.values(), d.image or d.software.digest, "\n".join(d.model.files))


def script(d: Deployment, title: str, command: Command, mark: str) -> str:
    """What runs one process with its whole environment; it becomes the process, so that signals reach it."""
    variables = Command(argv=(), env={**runtime.environment(d, mark), **command.env}).assignments()
    path = [] if d.image else [f"export PATH={quote(paths.environment(d))}/bin:$PATH"]
    secrets = [
        line
        for variable in sorted(command.secrets)
        for line in (f"read -r {variable} <{quote(paths.api_key(d))}", f"export {variable}")
    ]
    return "\n".join(
        (
            "#!/bin/bash",
            f"# {d.stack}: {title}",
            "# Written by Slipway; the next `pulumi up` replaces it.",
            f"# To change it, change stacks/Pulumi.{d.stack}.yaml.",
            "set -eu",
            *(f"export {line}" for line in variables),
            *path,
            *secrets,
            f"exec {command.lines()}",
            "",
        )
    )


def unit(d: Deployment, title: str, host: Host, file: str, mark: str) -> str:
    """A unit that runs a script of the job's folder; it is started, not enabled, and comes back with the next `up`."""
    user = paths.service_user(d.fleet) or host.user
    return "\n".join(
        (
            "[Unit]",
            f"Description=Slipway {d.stack}: {title}",
            "Wants=network-online.target",
            "After=network-online.target",
            "",
            "[Service]",
            f"User={user}",
            f"Environment=SLIPWAY_STACK={d.stack} SLIPWAY_FINGERPRINT={mark}",
            f"ExecStart=/bin/bash {paths.job_folder(d)}/{file}",
            "Restart=no",
            "KillMode=mixed",
            "TimeoutStopSec=60",
            "LimitMEMLOCK=infinity",
            "LimitNOFILE=1048576",
            "",
        )
    )


def title(d: Deployment, what: str) -> str:
    """What a process is, for people: `rank 0 of kimi-k2 by vllm 0.19.1`."""
    return f"{what} of {d.model.name} by {d.engine} {d.release}"


def typed(d: Deployment, command: Command, rank: Rank) -> str:
    """The line that a person would type with the environment activated: with the stack file's variables, no others."""
    return Command(argv=command.argv, env=d.part(rank.role).env).line()
