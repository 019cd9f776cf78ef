"""A container image, by digest, in the rootless Podman store of one user; loaded detached, resumed by the next run."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from hosts import trust
from hosts.errors import Unknown
from hosts.resources.detached import run_detached
from hosts.shell import quote
from hosts.state import Base, fingerprint

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image(Base):
    """`reference` is `NAME@sha256:DIGEST`, and present where Podman finds it for `user` ("": who we are on the host).

    `archive` is an OCI or Docker archive on the host ("": Podman pulls from the registry that NAME says). `log` is a
    file for the load's output; the folder that it is in gets the unpacked archive meanwhile, and needs room for it.
    `claim` is the file of the stack's claim on it.
    """

    kind: ClassVar[str] = "Image"
    reference: str
    archive: str = ""
    user: str = ""
    log: str
    claim: str = ""

    @property
    def key(self) -> str:
        return f"image:{self.reference}"

    @property
    def digest(self) -> str:
        """`sha256:` and 64 hexadecimal digits."""
        return self.reference.partition("@")[2]

    def probe(self) -> str:
        return (
            f"{self._podman()}\n"
            'command -v podman >/dev/null && [ -n "$home" ] || { echo absent; exit 0; }\n'
            # what Podman warns of besides is not the same each time
            f"if found=$(podman_ image inspect --format '{{{{.Digest}}}} {{{{.RepoDigests}}}}' {quote(self.reference)} "
            '2>/dev/null); then echo "found $found"\n'
            f"elif why=$(podman_ image exists {quote(self.reference)} 2>&1 >/dev/null); [ $? = 1 ]; then echo absent\n"
            'else echo "unknown: ${why##*level=}"; fi'
        )

    def parse(self, out: str) -> Self | None:
        text = " ".join(out.split())
        if text == "absent":
            return None
        if not text.startswith("found "):
            raise Unknown(f"Podman can't say whether it has {self.reference}: {text[-300:]}")
        return replace(self) if self.digest in text else None

    def steps(self, actual: Self | None) -> Iterator[str]:  # noqa: ARG002
        yield trust.folder(self.log.rpartition("/")[0])
        script = f"bash -c {quote(self.loading())}"
        yield run_detached(f"slipway-image-{fingerprint(self.reference, self.user)}", script, self.log, self.claim)

    def remove(self) -> Iterator[str]:
        reference = quote(self.reference)
        yield (
            f'{self._podman()}\ncommand -v podman >/dev/null && [ -n "$home" ] || exit 0\n'
            f"! podman_ image exists {reference} || podman_ rmi {reference}"
        )
        yield f"rm -f -- {' '.join(quote(self.log + end) for end in ('', '.running', '.exit'))}"

    def _podman(self) -> str:
        """Shell for `podman_`: Podman as the user, at home in the account's own folder, and with nothing else of ours.

        Its runtime folder is the one that Podman falls back to without a login session, whatever TMPDIR says: the store
        remembers the first one, and takes the machine for rebooted where another has no trace of it. `undecided` is set
        where no file says which driver a new store takes: left to itself, Podman may take vfs, which copies the whole
        image for each container.
        """
        whose = quote(self.user) if self.user else '"$(id -un)"'
        become = f"runuser -u {whose} -- " if self.user else ""
        return (
            f"cd /; home=$(getent passwd -- {whose} | cut -d: -f6); undecided=yes\n"
            f"runtime=/tmp/podman-run-$(id -u -- {whose} 2>/dev/null)\n"
            'for file in "$home/.config" /etc; do [ ! -e "$file/containers/storage.conf" ] || undecided=; done\n'
            f'as_user() {{ {become}env -i HOME="$home" PATH={PATH} LC_ALL=C.UTF-8 XDG_RUNTIME_DIR="$runtime" '
            '${undecided:+STORAGE_DRIVER=overlay} TMPDIR="${scratch:-/var/tmp}" "$@"; }\n'
            'podman_() { as_user mkdir -p -m 0700 -- "$runtime"\n'
            '  as_user test -O "$runtime" || { echo "$runtime is not the user\'s own" >&2; return 125; }\n'
            '  as_user podman "$@"; }'
        )

    def loading(self) -> str:
        """The long part: what is in the way is named, and a load that is cut short leaves no image."""
        reference, digest, scratch = quote(self.reference), quote(self.digest), quote(f"{self.log}.unpacked")
        owner = f"chown -- {quote(self.user)} {scratch}" if self.user else ":"
        name = self.reference.partition("@")[0]
        checks = ""
        bring = f"podman_ pull -- {reference}"
        if self.archive:
            archive = quote(self.archive)
            bring = f"podman_ load --input {archive}"
            checks = f"""
[ -r {archive} ] || stop "no file "{archive} "the image's archive there" \\
  "copy it there, or take images: out of the fleet file to pull from the registry"
size=$(du -mL -- {archive} | cut -f1)
for place in {scratch} "$home"; do
  free=$(df -Pm -- "$place" | awk 'NR == 2 {{ print $4 }}')
  [ "$free" -ge $((2 * size)) ] || stop "$free MiB free in $place" "$((2 * size)) MiB, to unpack "{archive} \\
    "free some space there"
done
"""
        return f"""
{self._podman()}
host=$(hostname)
stop() {{ echo "image "{reference}" on $host: found $1, wanted $2; $3"; exit 1; }}
command -v podman >/dev/null || stop "no podman" "Podman 4.1 or newer" "install it"
[ -n "$home" ] || stop "no account "{quote(self.user)} "the user whose store it is" "make the account"
rm -rf -- {scratch}; mkdir -m 0700 -- {scratch}; {owner}; scratch={scratch}
trap 'rm -rf -- {scratch} {scratch}.out' EXIT
{checks}
if [ -n "$undecided" ] && [ "$(podman_ info --format '{{{{.Store.GraphDriverName}}}}' 2>/dev/null)" = overlay ]; then
  as_user mkdir -p -- "$home/.config/containers"
  printf '[storage]\\ndriver = "overlay"\\n' | as_user tee -- "$home/.config/containers/storage.conf" >/dev/null
fi
before=$(podman_ images --all --quiet --no-trunc)
{bring} >{scratch}.out 2>&1 &
while kill -0 $! 2>/dev/null; do
  echo {quote(name)}": $(du -sm {scratch} 2>/dev/null | cut -f1) MiB unpacked, $(tail -n 1 {scratch}.out | tail -c 90)"
  sleep 2
done
wait $! || {{
  cat {scratch}.out
  grep -q "no space left" {scratch}.out &&
    stop "$(df -Pm -- "$home" | awk 'NR == 2 {{ print $4 }}') MiB free in $home" "room for the image" "free some space"
  exit 1
}}
cat {scratch}.out
podman_ image exists {reference} && exit 0
# an archive may call it by another name
found=$(podman_ images --all --no-trunc --format '{{{{.ID}}}} {{{{.Digest}}}}' | sort -u)
id=$(grep -m 1 -F {digest} <<<"$found" | cut -d' ' -f1)
[ -n "$id" ] && podman_ tag "$id" {quote(f"{name}:{self.digest[7:23]}")} && podman_ image exists {reference} && exit 0
other=$(podman_ image inspect --format '{{{{.Digest}}}}' "$(sed -n 's/^Loaded image: //p' {scratch}.out)" 2>/dev/null)
new=$(grep -vF -e "${{before:-none}}" <<<"$found")
[ -z "$new" ] || podman_ rmi --force $(cut -d' ' -f1 <<<"$new") >/dev/null
stop "${{other:-another image}}" {digest} "put the right archive there, it is not this image's"
"""
