"""What rootless Podman needs on a node: its packages, and numbers for the users inside containers."""

from hosts.fleet import Fleet, Host
from hosts.resources.files import Directory
from hosts.resources.image import Image
from hosts.resources.subordinate_ids import SubordinateIds
from hosts.resources.system import Package, Requirement
from hosts.state import Resource
from roles import render

PACKAGES = ("crun", "fuse-overlayfs", "podman", "uidmap")
"""With `--network host` no program is needed that makes networks."""
MIN_PODMAN = "4.1"
"""What this was written for and tried with is 4.3 (Debian 12); Ubuntu 22.04 has 3.4, an older generation."""
FIRST_ID, IDS = "2100000000", "65536"
"""Above what SSSD gives to a directory's users (up to 2000200000) and what systemd gives to its own containers (up to
1879048191), below 2**31. Source: sssd-ldap(5), ldap_idmap_range_max; systemd's doc/UIDS-GIDS.md."""
FOLDER = "/var/lib/slipway/images"
"""Logs of loads, and archives while they are unpacked; on the host's own disk."""


def containers(host: Host, fleet: Fleet, user: str) -> tuple[Resource, ...]:
    """The resources of one node that is ours to set up, whose containers run as `user`; () of others.

    No login session is needed: a container's processes stay in the cgroup of the job or unit that starts them.
    """
    if not wanted(host, fleet) or not ours(fleet):
        return ()
    return (
        Package(names=PACKAGES),
        SubordinateIds(user=user, first=FIRST_ID, count=IDS),
        Directory(path=FOLDER),
    )


def wanted(host: Host, fleet: Fleet) -> bool:
    """Whether a host is one that containers run on."""
    return fleet.containers == "podman" and host.role == "node"


def ours(fleet: Fleet) -> bool:
    """Whether the machines are ours to set up."""
    return fleet.slurm != "existing" and fleet.kubernetes is None


def image(host: Host, fleet: Fleet, reference: str, user: str) -> Image:
    """The engine's image in the store of `user` on a node; "" is who we are there, and then the log is on storage."""
    digest = reference.rpartition(":")[2]
    folder = FOLDER if user else f"{fleet.storage.path}/.slipway/images/{host.name}"
    return Image(
        reference=reference,
        archive=f"{fleet.images}/{digest}.tar" if fleet.images else "",
        user=user,
        log=f"{folder}/{digest}.log",
    )


def podman(host: Host, fleet: Fleet, user: str) -> tuple[Requirement, ...]:
    """What must hold on a node before anything is written: Podman there, or to be had where the machine is ours."""
    if not wanted(host, fleet):
        return ()
    place = f"hosts/inventory/{fleet.name}.yaml"
    found = [
        Requirement(
            name="podman",
            check=render("checks/podman.sh.j2", version=MIN_PODMAN, from_apt=ours(fleet)),
            wanted=f"Podman {MIN_PODMAN} or newer" + (" from apt" if ours(fleet) else ""),
            fix=f"add an apt source that has it (Debian 12, Ubuntu 24.04), or take containers: out of {place}",
        )
    ]
    if not ours(fleet):
        found.append(
            Requirement(
                name="podman-rootless",
                check=render("checks/podman-rootless.sh.j2", user=user),
                wanted=f"rootless containers for {user}: uidmap, and a range in /etc/subuid and /etc/subgid",
                fix=f"apt-get install uidmap; usermod --add-subuids {FIRST_ID}-{int(FIRST_ID) + int(IDS) - 1} "
                f"--add-subgids {FIRST_ID}-{int(FIRST_ID) + int(IDS) - 1} {user}",
            )
        )
    return tuple(found)


def built(reference: str) -> tuple[Requirement, ...]:
    """A requirement that never holds, of an image whose digest is made up: it can be previewed, not brought up."""
    if reference.partition("@sha256:")[2].strip("0"):
        return ()
    return (
        Requirement(
            name="image-digest",
            check="echo 'a digest of zeros'",
            wanted="the digest of an image that was built",
            fix="run: make setup (the lab's image), or put the image's digest in the stack file",
        ),
    )
