"""What a stack leaves on a host under its own name, and that no stage declares: only ever taken away, never made."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from hosts.shell import quote
from hosts.state import Base


@dataclass(frozen=True, slots=True, kw_only=True)
class Containers(Base):
    """The containers of a stack in the rootless Podman store of `user` ("": who we are on the host), by their label."""

    kind: ClassVar[str] = "Containers"
    stack: str
    user: str = ""

    @property
    def key(self) -> str:
        return f"containers:{self.stack}"

    def _listed(self) -> str:
        """Shell that defines `podman_` and `listed`, and ends where the user has no store: asking would make one."""
        whose = quote(self.user) if self.user else '"$(id -un)"'
        become = f"runuser -u {whose} -- " if self.user else ""
        return (
            f"cd /; home=$(getent passwd -- {whose} | cut -d: -f6) || exit 0\n"
            '[ -n "$home" ] && [ -d "$home/.local/share/containers" ] && command -v podman >/dev/null || exit 0\n'
            f'podman_() {{ {become}env XDG_RUNTIME_DIR=/tmp/podman-run-"$(id -u -- {whose})" podman "$@"; }}\n'
            f"listed() {{ podman_ ps --all --quiet --filter {quote(f'label=slipway={self.stack}')} 2>/dev/null; }}"
        )

    def probe(self) -> str:
        return f"{self._listed()}\nlisted | sort; true"

    def parse(self, out: str) -> Self | None:
        return replace(self) if out.strip() else None

    def steps(self, actual: Self | None) -> Iterator[str]:  # noqa: ARG002
        return iter(())

    def remove(self) -> Iterator[str]:
        yield f'{self._listed()}\nfor c in $(listed); do podman_ rm --force --ignore --time 5 "$c" >/dev/null; done'


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporaryFolders(Base):
    """The temporary folders of a stack's processes: those of `user` ("": who we are on the host), and systemd's."""

    kind: ClassVar[str] = "TemporaryFolders"
    stack: str
    user: str = ""

    @property
    def key(self) -> str:
        return f"temporary-folders:{self.stack}"

    def _find(self, do: str) -> str:
        """Those of jobs, made by mktemp, and those that systemd makes for units; links are not followed."""
        user = quote(self.user) if self.user else '"$(id -un)"'
        return (
            f"find /tmp /var/tmp -mindepth 1 -maxdepth 1 -type d -user {user} "
            f"-name {quote(f'slipway.{self.stack}.*')} {do} 2>/dev/null\n"
            # in /run nobody but root makes anything
            f"find /run -mindepth 1 -maxdepth 1 -type d -name {quote(f'slipway.{self.stack}')} {do} 2>/dev/null\ntrue"
        )

    def probe(self) -> str:
        return self._find("-print")

    def parse(self, out: str) -> Self | None:
        return replace(self) if out.strip() else None

    def steps(self, actual: Self | None) -> Iterator[str]:  # noqa: ARG002
        return iter(())

    def remove(self) -> Iterator[str]:
        # an account that is not there owns nothing, and `find` fails on its name
        yield "set +e\n" + self._find("-exec rm -rf --one-file-system -- {} +")
