"""Folders on model storage: environments, models, engine caches, and Slipway's own beside them."""

from hosts.fleet import Fleet, Host
from hosts.resources.files import Directory
from hosts.state import Resource


def storage(host: Host, fleet: Fleet, *, owner: str, group: str) -> tuple[Resource, ...]:
    """The folders of one host; jobs of `owner` write to the caches. Where all see them, the login host makes them.

    The storage's own folder is the site's: it is asked for by a Requirement and never made, so that nothing is ever
    written below a mount point whose filesystem is not there.
    """
    if fleet.storage.shared and host.role != "login":
        return ()
    root = fleet.storage.path
    return (
        Directory(path=f"{root}/envs"),
        Directory(path=f"{root}/models"),
        Directory(path=f"{root}/cache", owner=owner, group=group),
        Directory(path=f"{root}/.slipway"),
        Directory(path=f"{root}/.slipway/claims"),
        Directory(path=f"{root}/.slipway/weights"),
    )
