"""The kinds of resource; `KINDS` is how one comes back from the wire."""

from hosts.resources.block import Block
from hosts.resources.claim import Claim
from hosts.resources.endpoint import Endpoint
from hosts.resources.environment import CondaEnv
from hosts.resources.files import Directory, File, SecretFile
from hosts.resources.image import Image
from hosts.resources.slurm_job import SlurmJob
from hosts.resources.subordinate_ids import SubordinateIds
from hosts.resources.system import Package, Requirement, Sysctl, Unit, User
from hosts.resources.weights import Weights
from hosts.state import Resource

KINDS: dict[str, type[Resource]] = {
    kind.kind: kind
    for kind in (
        Block,
        Claim,
        CondaEnv,
        Directory,
        Endpoint,
        File,
        Image,
        Package,
        Requirement,
        SecretFile,
        SlurmJob,
        SubordinateIds,
        Sysctl,
        Unit,
        User,
        Weights,
    )
}

__all__ = [
    "KINDS",
    "Block",
    "Claim",
    "CondaEnv",
    "Directory",
    "Endpoint",
    "File",
    "Image",
    "Package",
    "Requirement",
    "SecretFile",
    "SlurmJob",
    "SubordinateIds",
    "Sysctl",
    "Unit",
    "User",
    "Weights",
]
