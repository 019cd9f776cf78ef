"""What is left of a stack on its machines: processes, jobs, units, containers, ports, memory, folders, keys, claims."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hosts.connection import Connect
from hosts.errors import LeftBehind, SlipwayError, Truncated
from hosts.fleet import Fleet
from hosts.resources.detached import kept_by_others
from hosts.resources.slurm_job import PATH
from hosts.shell import parse_frames, probe_script, quote
from infra import paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is still there."""

    host: str
    what: str
    detail: str

    def __str__(self) -> str:
        return f"{self.host}: {self.what}: {self.detail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What was looked at, by host, what was found, and the hosts that could not be looked at."""

    stack: str
    looked_at: tuple[str, ...]
    hosts: tuple[str, ...]
    others: tuple[str, ...] = ()
    """Machines of the fleet that are not ours to log in to; SLURM answers for them."""
    left: tuple[Finding, ...]
    unread: tuple[str, ...]

    def raise_left(self) -> None:
        """Raises LeftBehind naming what is left, and each host not looked at: that is no proof of absence."""
        if not self.left and not self.unread:
            return
        lines = [*map(str, self.left), *(f"{line} (not looked at)" for line in self.unread)]
        raise LeftBehind(
            f"{self.stack}: {len(lines)} thing(s) left:\n"
            + "\n".join(f"  {line}" for line in lines)
            + "\nremove what is named (processes: kill PID on that host; files: rm), "
            + f"then run: invoke teardown -s {self.stack}"
        )


def _looks(fleet: Fleet, stack: str, *, login: bool, claims: bool) -> dict[str, str]:
    """What is looked for, and the shell that prints one line a finding."""
    folder = f"{fleet.storage.path}/.slipway"
    root = paths.state_root(fleet)
    # of the scan's own processes none carries the tag: it comes through standard input
    tag = quote(f"SLIPWAY_STACK={stack}")
    tagged = f"grep -lszxF -- {tag}"  # lists the /proc/PID/environ that it is given
    named = quote(f"[s]lipway[.-]{stack}[.]")  # the brackets keep it from finding itself
    claimed = " ".join(f"{quote(place)}/claims/*/{quote(stack)}" for place in dict.fromkeys((root, folder)))
    containers = f"-a --filter label=slipway={stack} --format '{{{{.ID}}}} {{{{.Names}}}} {{{{.Status}}}}' 2>/dev/null"
    user = paths.run_user(fleet) or "$(id -un)"
    looks = {
        "processes": (
            f"{kept_by_others(stack)}\n"  # detached work that another stack wants as well goes on
            # some write their title over their environment (sshd), or start without ours (Podman's monitor)
            f"{{ {tagged} /proc/[0-9]*/environ; pgrep -u {user} -x 'conmon|sshd' | sed 's|.*|/proc/&/cmdline|' | "
            f"xargs -r grep -lsaE -- {named}; }} | sort -u -t / -k 3,3 | "
            'while read -r e; do kept "$e" || echo "$e"; done | '
            "while IFS=/ read -r _ _ p _; do "
            'echo "pid $p: $(tr "\\0" " " </proc/$p/cmdline 2>/dev/null | cut -c1-120)"; done'
        ),
        "ports": (
            "command -v ss >/dev/null || exit 0\n"
            "ss -Hltnp 2>/dev/null | while read -r state receiving sending here there who; do "
            f'p=${{who##*pid=}}; p=${{p%%,*}}; if {tagged} "/proc/$p/environ" >/dev/null; then '
            'echo "$here by pid $p"; fi; done'
        ),
        "units": (
            "systemctl list-units --all --no-legend --plain 'slipway-*' 2>/dev/null | while read -r unit rest; do "
            f"if systemctl show -p Environment --value \"$unit\" | tr ' ' '\\n' | grep -qx -- {tag}; then "
            'echo "$unit $rest" | cut -c1-120; fi; done'
        ),
        "containers": (
            f"for c in podman docker; do if command -v $c >/dev/null; then $c ps {containers}; fi; done\n"
            # each user has containers of his own
            f"cd /; [ ! -d ~{user}/.local/share/containers ] || [ $(id -un) = {user} ] || "
            f"runuser -u {user} -- env XDG_RUNTIME_DIR=/tmp/podman-run-$(id -u {user}) podman ps {containers}; true"
        ),
        "temporary folders": (
            f"find /tmp /var/tmp -maxdepth 1 -user {user} -name {quote(f'slipway.{stack}.*')} 2>/dev/null; true"
        ),
        "shared memory": _shared_memory(stack, paths.service_user(fleet)),
    }
    if login:
        looks["jobs"] = (
            f"{PATH}\ncommand -v squeue >/dev/null || exit 0\n"
            f"listed=$(squeue --noheader --name={quote(f'slipway-{stack}')} --format='job %i %T on %N %k' 2>&1) || "
            '{ echo "the queue can\'t be asked: $listed"; exit 0; }\n'
            f"printf '%s\\n' \"$listed\" | grep -F 'slipway={stack},'; true"
        )
        looks["job folder, key and logs"] = f"ls -d {quote(f'{folder}/{stack}')} 2>/dev/null; true"
    if claims:
        looks["claims"] = f"ls -d {claimed} 2>/dev/null; true"
    return looks


def _shared_memory(stack: str, user: str) -> str:
    """What is named after the stack; on a cluster of ours also what killed engines left, under names of their own."""
    named = f"ls -d /dev/shm/slipway.{stack}.* /dev/shm/slipway-{stack}-* 2>/dev/null; true"
    if not user:
        return named
    return f"""{named}
id -u {quote(user)} >/dev/null 2>&1 || exit 0
held=$(cat /proc/[0-9]*/maps 2>/dev/null | sed -n 's|.* \\(/dev/shm/.*\\)|\\1|p'
  find /proc/[0-9]*/fd -lname '/dev/shm/*' -printf '%l\\n' 2>/dev/null)
find /dev/shm -mindepth 1 -maxdepth 1 -user {quote(user)} ! -name 'slipway?{stack}[.-]*' \\
  ! -name 'libpod*_lock_*' | while read -r f; do  # Podman's own, for all containers of the user
  grep -qxF -- "$f" <<<"$held" || echo "$f of {user}, which no process holds"
done"""


def scan(fleet: Fleet, stack: str, connect: Connect, *, ignore_claims: bool = False) -> Scan:
    """Looks at every machine of the fleet that we may log in to; one script a host. What can't be read is `unread`."""

    def one(name: str) -> tuple[list[Finding], str]:
        looks = _looks(fleet, stack, login=name == login, claims=not ignore_claims)
        script = probe_script(list(looks.values()))
        try:
            output = connect(name)(script)
        except SlipwayError as error:
            return [], f"{name}: {str(error).splitlines()[0]}"
        frames, complete = parse_frames(script, output.stdout)
        if not complete:
            return [], str(Truncated(f"{name}: the scan was cut short"))
        return [
            Finding(host=name, what=what, detail=line)
            for n, what in enumerate(looks)
            for line in frames[str(n)].out.splitlines()
            if line.strip()
        ], ""

    login = fleet.login.name if any(host.role == "login" for host in fleet.hosts) else fleet.hosts[0].name
    names = [host.name for host in fleet.managed]
    with ThreadPoolExecutor(max(1, min(32, len(names)))) as pool:
        results: Sequence[tuple[list[Finding], str]] = list(pool.map(one, names))
    looked_at = tuple(_looks(fleet, stack, login=True, claims=not ignore_claims))
    return Scan(
        stack=stack,
        looked_at=looked_at,
        hosts=tuple(names),
        others=tuple(host.name for host in fleet.hosts if host.name not in names),
        left=tuple(_unique(finding for found, _ in results for finding in found)),
        unread=tuple(unread for _, unread in results if unread),
    )


def _unique(findings: Iterable[Finding]) -> list[Finding]:
    """Findings less those of shared storage that another host showed already."""
    seen: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        shared = finding.what == "claims" and "/.slipway/" in finding.detail
        seen.setdefault((finding.what, finding.detail if shared else str(finding)), finding)
    return list(seen.values())
