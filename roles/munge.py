"""MUNGE on a host: the fleet's key, and the daemon that was started with it."""

from hosts.resources.files import Directory, SecretFile
from hosts.resources.system import Package, Unit
from hosts.state import Resource, fingerprint

KEY = "/etc/munge/munge.key"
KEY_SECRET = "munge-key"  # noqa: S105 - the name under which the value is asked for


def munge(*, key_digest: str, held: bool) -> tuple[Resource, ...]:
    """The resources of any host that has the account munge; `key_digest` is the sha256 of the fleet's key.

    `held`: the key that lies there is the cluster's, and a plan with another is refused, else the second person who
    works on a fleet locks all of the first one's nodes out. The key comes before the package, which makes one of its
    own where there is none.
    """
    own = "munge"
    return (
        Directory(path="/etc/munge", mode="0700", owner=own, group=own),
        SecretFile(
            path=KEY, secret=KEY_SECRET, digest=key_digest, mode="0400", owner=own, group=own, guard=True, held=held
        ),
        Package(names=("munge",)),
        Unit(name="munge.service", fingerprint=fingerprint(key_digest), reads=(f"{key_digest}  {KEY}",)),
    )
