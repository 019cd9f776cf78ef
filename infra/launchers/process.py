"""What a launcher starts: processes on hosts, each a command in a script of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hosts.shell import quote
from hosts.state import fingerprint
from infra import artifacts, paths, runtime
from infra.command import Command, Var
from infra.command import quote as word
from infra.deployment import Deployment
from infra.launchers import container
from infra.placement import Rank

API_KEY = "api-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of a stack on a host: its name there, what it is for people, and what it becomes.

    `before` is shell that runs first, with the process's variables; where it fails the process ends. `reads` are files
    of the job's folder that the process reads, by name: another text is another process. `devices` are the GPUs that it
    takes where no scheduler gives them out. One that is `contained` runs Podman, which needs the user's own home and
    gives the variables on.
    """

    host: str
    name: str
    what: str
    command: Command
    before: str = ""
    reads: tuple[str, ...] = ()
    devices: tuple[int, ...] = ()
    contained: bool = False

    @property
    def script(self) -> str:
        """The file of its script in the job's folder."""
        return f"{self.host}/{self.name}.sh"

    @property
    def is_container(self) -> bool:
        """Whether it becomes a container, by its own name."""
        return self.command.argv[: len(container.PODMAN) + 1] == (*container.PODMAN, "run")

    @property
    def log(self) -> str:
        """The file of its log in the job's folder, where it has one of its own."""
        return f"{self.host}/{self.name}.log"

    @property
    def temporary(self) -> Var:
        """Its temporary folder."""
        return paths.temporary(self.name)


def mark(d: Deployment, process: Process, files: Mapping[str, str], *more: str) -> str:
    """The fingerprint of what a process is started from; `more` is what else another of would make it another."""
    read = (f"{name}\n{files[name]}" for name in process.reads)
    weights = "\n".join(d.model.files)
    return fingerprint(script(d, process, ""), *read, d.image or d.software.digest, weights, *more)


def script(d: Deployment, process: Process, fingerprint_: str) -> str:
    """What runs one process with its whole environment; it becomes the process, so that signals reach it."""
    return "\n".join(
        (
            "#!/bin/bash",
            f"# {d.stack}: {process.what}",
            "# Written by Slipway; the next `pulumi up` replaces it.",
            f"# To change it, change stacks/Pulumi.{d.stack}.yaml.",
            "set -euo pipefail",
            # what starts it has made the folder of the run; by hand there is none yet
            f"export {paths.RUN}=${{{paths.RUN}:-$({paths.new_run_folder(d)})}}",
            *(f"export {line}" for line in _variables(d, process, fingerprint_)),
            *([] if d.image else [f"export PATH={quote(paths.environment(d))}/bin:$PATH"]),
            'rm -rf --one-file-system -- "$TMPDIR"',
            'mkdir -m 0700 -- "$TMPDIR"',
            *([container.RUNTIME] if process.contained else []),
            *_secrets(d, process.command),
            *([process.before.rstrip()] if process.before else []),
            f"exec {process.command.lines()}",
            "",
        )
    )


def _variables(d: Deployment, process: Process, fingerprint_: str) -> tuple[str, ...]:
    env = {**runtime.environment(d, fingerprint_), "TMPDIR": process.temporary, **process.command.env}
    if process.contained:  # its images lie in the user's own home, on a local disk
        del env["HOME"]
    return Command(argv=(), env=env).assignments()


def _secrets(d: Deployment, command: Command) -> list[str]:
    lines = []
    for variable in sorted(command.secrets):
        # a file without an end of line is read as well, and `read` then fails
        lines += [f'read -r {variable} <{quote(paths.api_key(d))} || [ -n "${variable}" ]', f"export {variable}"]
    return lines


def check_artifacts(d: Deployment) -> str:
    """Shell of whatever computes: its image is on the node, its caches can be written, its weights are sound."""
    return "\n".join((*([container.check(d)] if d.image else []), caches(d), _check_weights(d)))


def _check_weights(d: Deployment) -> str:
    """Shell that ends a process whose model is not what was verified; the programs lie in the job's folder."""
    folder, weights = paths.job_folder(d), artifacts.weights(d)
    words = (weights.path, weights.record, f"{folder}/weights.manifest")
    return (
        f"python3 -I {quote(f'{folder}/weights.py')} check {' '.join(map(quote, words))} || {{\n"
        '  echo "slipway: error: the weights are not those that were verified; run pulumi up, which repairs them"\n'
        "  exit 1\n"
        "}"
    )


def clear_way(server: str) -> str:
    """Shell of whatever serves, before it does: its port is nobody's, or the socket of an earlier run is gone."""
    if server.startswith("unix:"):
        return f"rm -f -- {word(paths.ENGINE_SOCKET)}"
    return check_port(int(server.rpartition(":")[2]))


def check_port(port: int, fix: str = "set slipway:port to a free one") -> str:
    """Shell that ends a process whose port somebody else listens on, and says who, as far as its user may know."""
    reuse = "s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)"
    bind = f'import socket; {reuse}; s.bind(("", {port}))'
    return (
        f"python3 -I -c {quote(bind)} 2>/dev/null || {{\n"
        f"  ss -Hltnp 'sport = :{port}' 2>/dev/null || true\n"
        f'  echo "slipway: error: port {port} of $(hostname) is taken by another process; '
        f'{fix}"\n'
        "  exit 1\n"
        "}"
    )


def caches(d: Deployment) -> str:
    """Shell that makes the folders of the engine's caches, closed to others whatever the storage's default ACL is."""
    folders = " ".join(quote(f"{paths.cache(d)}/{name}") for name in ("hf", "home", "inductor", "triton", "xdg"))
    return f"mkdir -p -- {folders} && chmod 0700 -- {quote(paths.cache(d))}"


def title(d: Deployment, what: str) -> str:
    """What a process is, for people: `rank 0 of kimi-k2 by vllm 0.19.1`."""
    return f"{what} of {d.model.name} by {d.engine} {d.release}"


def typed(d: Deployment, command: Command, rank: Rank) -> str:
    """The line that a person would type with the environment activated: with the stack file's variables, no others."""
    return Command(argv=command.argv, env=d.part(rank.role).env).line()


def on_host(processes: Sequence[Process], host: str) -> tuple[Process, ...]:
    """Those of one host, in order."""
    return tuple(process for process in processes if process.host == host)
