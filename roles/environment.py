"""An engine's environment on storage: the claim on it, its inputs as files, and the environment made from them."""

from dataclasses import replace

from hosts.resources.claim import Claim
from hosts.resources.environment import CondaEnv
from hosts.resources.files import Directory, File
from hosts.resources.programs import program
from hosts.state import Resource


def environment(made: CondaEnv, *, lock: str, requirements: str, tools: str, claim: Claim) -> tuple[Resource, ...]:
    """The resources of the one host that installs it; the texts are conda.lock and the pins of pip and tools."""
    return (
        claim,
        Directory(path=made.inputs),
        File(path=f"{made.inputs}/conda.lock", content=lock),
        File(path=f"{made.inputs}/requirements.txt", content=requirements),
        File(path=f"{made.inputs}/tools.txt", content=tools),
        File(path=f"{made.inputs}/install_env.py", content=program("install_env")),
        replace(made, claim=claim.path),
    )
