"""What a gateway needs of a host: the program nginx, and no service of it."""

from hosts.resources.files import Directory, File
from hosts.resources.system import Package, Requirement
from hosts.state import Resource
from roles import render

PACKAGE = "nginx-light"
DROP_IN = "/etc/systemd/system/nginx.service.d/50-slipway.conf"


def gateway() -> tuple[Resource, ...]:
    """nginx on a host of ours; the package starts a web server of its own on port 80, which this keeps from running."""
    return (
        Directory(path=DROP_IN.rpartition("/")[0]),
        File(path=DROP_IN, content=render("etc/systemd/system/nginx.service.d/50-slipway.conf.j2")),
        Package(names=(PACKAGE,)),
    )


def no_service() -> Requirement:
    """Of a host of ours before we install nginx there: no web server by it, which would not start again."""
    return Requirement(
        name="nginx-service",
        check=render("checks/nginx-service.sh.j2", drop_in=DROP_IN),
        wanted="no nginx.service in use but ours",
        fix="move that web server elsewhere, or run it under a unit of another name",
    )
