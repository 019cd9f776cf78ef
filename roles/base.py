"""What every host of ours has under it: packages and kernel settings; in a cluster also accounts, limits, names."""

from hosts.fleet import Fleet, Host
from hosts.resources.block import Block
from hosts.resources.files import Directory, File
from hosts.resources.system import Package, Sysctl, User
from hosts.state import Resource
from roles import render

SERVICE_USER = "slipway"
HOME = "/var/lib/slipway/home"
"""The service user's, local to each host: what an engine writes there in spite of its settings shares nothing."""

PYTHON = ("ca-certificates", "procps", "python3", "python3-venv")
NUMA = ("libgomp1", "libnuma1", "numactl")
COMPILER = ("g++",)
"""Triton builds a launcher for each kernel with the C compiler at run time, and TorchInductor asks for a C++ one."""

# Those that are a network namespace's own, so that they hold in containers too. A burst of clients waits in the listen
# queue instead of being refused: uvicorn asks for 2048, and the kernel cuts that to somaxconn (128 before Linux 5.4).
SYSCTLS = {"net.core.somaxconn": "8192", "net.ipv4.tcp_max_syn_backlog": "8192"}


def bare(host: Host, fleet: Fleet) -> tuple[Resource, ...]:
    """The resources of one host without SLURM, where processes run as the user that we log in as."""
    node = host.role == "node"
    return (
        Package(names=(*PYTHON, *(NUMA if node else ()), *(COMPILER if node and not fleet.stand_in else ()))),
        *(Sysctl(name=name, value=value) for name, value in SYSCTLS.items()),
    )


def base(host: Host, fleet: Fleet) -> tuple[Resource, ...]:
    """The resources of one host; `fleet` for the names and addresses of the others."""
    packages, *settings = bare(host, fleet)
    return (
        packages,
        # Debian's own number for slurm, and the homes that Debian's packages would give: they find the accounts made.
        User(name="slurm", uid="64030", home="/nonexistent"),
        User(name="munge", uid="64101", home="/nonexistent"),
        # a shell for the sshd of a mesh, which starts an engine's ranks through it; nobody has a key or password to it
        User(name=SERVICE_USER, uid="64100", home=HOME, shell="/bin/sh"),  # noqa: S604 - an account's
        Directory(path=HOME, mode="0700", owner=SERVICE_USER, group=SERVICE_USER),
        File(path="/etc/security/limits.d/90-slipway.conf", content=render("etc/security/limits.d/90-slipway.conf.j2")),
        *settings,
        Block(path="/etc/hosts", name=f"fleet {fleet.name}", content=render("etc/hosts.j2", hosts=fleet.hosts)),
    )
