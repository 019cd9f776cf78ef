"""Has the mesh of a stack change its keys, without a restart of anything."""

from hosts.connection import Connect
from hosts.converge import Say
from hosts.errors import Failed, InputError
from hosts.problem import Problem
from hosts.shell import PROGRESS, quote
from infra import paths
from infra.deployment import Deployment

TIMEOUT_S = 60


def rotate(d: Deployment, connect: Connect, say: Say) -> str:
    """Asked on the login host, as the user that the mesh's files belong to; what it says.

    Raises InputError where the stack has no mesh, Failed with the node that does not follow.
    """
    if d.launcher.name != "mpirun":
        raise InputError(
            [
                Problem(
                    where="$.launcher.name",
                    found=d.launcher.name,
                    wanted="mpirun",
                    why="no other launcher has keys between its nodes",
                )
            ]
        )
    folder, user = paths.job_folder(d), paths.run_user(d.fleet)
    become = f"runuser -u {quote(user)} -- " if user else ""
    program = f"python3 -I {quote(f'{folder}/mesh.py')} rotate {quote(f'{folder}/mesh.json')} {TIMEOUT_S}"
    script = (
        f"[ -e {quote(f'{folder}/mesh')} ] || {{ echo 'it has no keys yet: is it up? (invoke status -s {d.stack})'; "
        f"exit 0; }}\n[ $(id -un) = {quote(user or '')} ] && become= || become={quote(become)}\n"
        f"${{become}}{program} 2>&1 && echo rotated"
    )
    login = d.fleet.login.name
    out = connect(login)(f"{{\n{script}\n}}\n", lambda line: say(login, line)).stdout
    said = [line for line in out.splitlines() if line.strip() and not line.startswith(PROGRESS)]
    if said[-1:] != ["rotated"]:
        raise Failed(f"{d.stack}: its keys did not change on all nodes:\n" + "\n".join(f"  {line}" for line in said))
    return said[-2] if len(said) > 1 else ""
