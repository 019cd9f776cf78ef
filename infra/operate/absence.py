"""What is left of a stack on its machines: processes, jobs, units, containers, ports, memory, folders, keys, claims.

Every user of a node may give a process, a file or a folder our names and tags. So each finding has an owner, and what
somebody else owns is a note: it is shown, and neither fails a teardown nor comes with advice to remove it.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hosts.connection import Connect
from hosts.errors import LeftBehind, SlipwayError, Truncated
from hosts.fleet import Fleet
from hosts.resources.detached import kept_by_others
from hosts.resources.slurm_job import queue
from hosts.shell import parse_frames, probe_script, quote
from hosts.text import printable
from infra import paths
from roles import render

PATIENCE_S = 10
"""How long processes of the stack that are ending have for it, once what owned them is gone."""
DETAIL_LENGTH = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is still there: whose it is ("" where only this stack can have it) and what removes it."""

    host: str
    what: str
    subject: str
    owner: str = ""
    detail: str = ""
    command: str = ""

    def __str__(self) -> str:
        whose = f" of {self.owner}" if self.owner else ""
        return f"{self.host}: {self.what}: {self.subject}{whose}" + (f": {self.detail}" if self.detail else "")

    def note(self) -> str:
        """The sentence about something of another user's."""
        carries = CARRIES.get(self.what, "has this stack's name")
        return f"{self.host}: {self.subject} of {self.owner} {carries}; it is not ours, so it does not count"

    def to_json(self) -> dict[str, str]:
        """The row of the document."""
        return {
            "host": self.host,
            "what": self.what,
            "subject": self.subject,
            "owner": self.owner,
            "detail": self.detail,
        }


CARRIES = {"processes": "carries this stack's tag", "units": "carries this stack's tag"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What was looked at, by host, what was found, and the hosts that could not be looked at."""

    stack: str
    looked_at: tuple[str, ...]
    hosts: tuple[str, ...]
    others: tuple[str, ...] = ()
    """Machines of the fleet that are not ours to log in to; SLURM answers for them."""
    left: tuple[Finding, ...]
    foreign: tuple[Finding, ...] = ()
    """What looks like the stack's and belongs to somebody else; it does not count."""
    unread: tuple[str, ...]

    def notes(self) -> list[str]:
        """A sentence for each thing of somebody else's."""
        return [finding.note() for finding in self.foreign]

    def raise_left(self) -> None:
        """Raises LeftBehind naming what is left, and each host not looked at: that is no proof of absence."""
        if not self.left and not self.unread:
            return
        lines: list[str] = []
        for finding in self.left:
            lines.append(f"  {finding}")
            lines += [f"    remove it on {finding.host}: {finding.command}"] if finding.command else []
        lines += [f"  {line} (not looked at)" for line in self.unread]
        lines += [f"  note: {note}" for note in self.notes()]
        count = len(self.left) + len(self.unread)
        raise LeftBehind(
            f"{self.stack}: {count} {'thing' if count == 1 else 'things'} left:\n"
            + "\n".join(lines)
            + f"\nthen run: invoke teardown -s {self.stack}"
        )


def _looks(fleet: Fleet, stack: str, *, login: bool, claims: bool) -> dict[str, str]:
    """What is looked for, and the shell that prints one line per finding."""
    folder = f"{fleet.storage.path}/.slipway"
    root = paths.state_root(fleet)
    words: dict[str, object] = {
        "stack": stack,
        "tag": f"SLIPWAY_STACK={stack}",
        "user": paths.run_user(fleet),
        "patience_s": PATIENCE_S,
        "kept_by_others": kept_by_others(stack),
        # as that user, who can't remove what is another's from a folder with the sticky bit
        "as_user": 'runuser -u "$me" -- ' if paths.run_user(fleet) else "",
    }
    looks = {
        what: render(f"absence/{what.replace(' ', '-')}.sh.j2", **words, **_sweep(fleet, stack))
        for what in ("processes", "ports", "units", "containers", "temporary folders", "shared memory")
    }
    if login:
        looks["jobs"] = (
            f"{queue(stack, f'{folder}/{stack}', paths.service_user(fleet))}\n"
            "command -v squeue >/dev/null || exit 0\n"
            # a controller of ours that never ran has no jobs, and can't be asked for any
            f"{'[ -e /var/lib/slurm/slurmctld/clustername ] || exit 0' if fleet.slurm == 'ours' else ':'}\n"
            'listed=$(our_jobs live) || { echo "the queue can\'t be read: ${listed#failed }" | head -n 1; exit 0; }\n'
            'while IFS=\'|\' read -r job state node rest; do [ -z "$job" ] || echo "$job $state on $node"; '
            'done <<<"$listed"'
        )
        place = quote(f"{folder}/{stack}")
        looks["job folder, key and logs"] = render("absence/places.sh.j2", **words, places=place)
    if claims:
        places = " ".join(f"{quote(place)}/claims/*/{quote(stack)}" for place in dict.fromkeys((root, folder)))
        looks["claims"] = render("absence/places.sh.j2", **words, places=places)
    return looks


def _sweep(fleet: Fleet, stack: str) -> dict[str, object]:
    """How a scan sweeps shared memory: what the run user's engines left there, which has no name of the stack's.

    An account that only stacks use has nothing else there; in a person's, names that engines give are taken alone.
    """
    words: dict[str, object] = {"shm_owner": '"$mine"', "shm_report": True}
    if paths.service_user(fleet):
        words["shm_since"] = quote(f"{paths.claims(fleet)}/fleet/{stack}")
    return words


def _commands(fleet: Fleet, host: str, what: str, subject: str, owner: str) -> str:
    """The line that removes a finding of ours on its host; "" where it goes with another finding."""
    sudo = "sudo " if fleet.host(host).sudo else ""
    last = subject.rpartition(" ")[2]
    if what == "processes":
        return f"{sudo}kill {last}"
    if what == "units":
        return f"{sudo}systemctl disable --now {last}"
    if what == "containers":
        become = f"{sudo}runuser -u {quote(owner)} -- env -C / XDG_RUNTIME_DIR=/tmp/podman-run-$(id -u {quote(owner)}) "
        return f"{become if sudo and owner != 'root' else sudo}podman rm --force {last}"
    if what == "jobs":
        job = re.match(r"job ([0-9_]+)\b", subject)
        return f"{sudo}scancel {job[1]}" if job else ""
    return "" if what == "ports" else f"{sudo}rm -r -- {subject}"


def _findings(fleet: Fleet, host: str, what: str, out: str) -> Iterator[tuple[bool, Finding]]:
    """Whether each thing that a look printed is ours, and the thing. Raises ValueError for what no look prints."""
    for row in out.split("\n"):
        if not row.strip():
            continue
        fields = ["ours", "", row, ""] if what == "jobs" else row.split("\t")
        if len(fields) != 4 or fields[0] not in ("ours", "foreign") or not fields[2]:
            raise ValueError(f"{what}: {row}")
        whose, owner, subject, detail = fields
        ours = whose == "ours"
        subject, owner = printable(subject, keep=""), printable(owner, keep="")
        yield (
            ours,
            Finding(
                host=host,
                what=what,
                subject=subject,
                owner=owner,
                detail=" ".join(printable(detail, keep="").split())[:DETAIL_LENGTH],
                command=_commands(fleet, host, what, subject, owner) if ours else "",
            ),
        )


def scan(fleet: Fleet, stack: str, connect: Connect, *, ignore_claims: bool = False) -> Scan:
    """Looks at every machine of the fleet that we may log in to, with one script per host. What processes that were
    killed left in temporary folders and in shared memory goes first. What can't be read is `unread`."""

    def one(name: str) -> tuple[list[tuple[bool, Finding]], str]:
        looks = _looks(fleet, stack, login=name == login, claims=not ignore_claims)
        script = probe_script(list(looks.values()))
        try:
            output = connect(name)(script)
        except SlipwayError as error:
            return [], f"{name}: {str(error).splitlines()[0]}"
        frames, complete = parse_frames(script, output.stdout)
        if not complete:
            return [], str(Truncated(f"{name}: the scan was cut short"))
        try:
            return [it for n, what in enumerate(looks) for it in _findings(fleet, name, what, frames[str(n)].out)], ""
        except ValueError as error:
            return [], f"{name}: the scan printed what it should not: {printable(str(error), keep='')[:DETAIL_LENGTH]}"

    login = fleet.login.name if any(host.role == "login" for host in fleet.hosts) else fleet.hosts[0].name
    names = [host.name for host in fleet.managed]
    with ThreadPoolExecutor(max(1, min(32, len(names)))) as pool:
        results: Sequence[tuple[list[tuple[bool, Finding]], str]] = list(pool.map(one, names))
    looked_at = tuple(_looks(fleet, stack, login=True, claims=not ignore_claims))
    return Scan(
        stack=stack,
        looked_at=looked_at,
        hosts=tuple(names),
        others=tuple(host.name for host in fleet.hosts if host.name not in names),
        left=tuple(_unique(finding for found, _ in results for ours, finding in found if ours)),
        foreign=tuple(_unique(finding for found, _ in results for ours, finding in found if not ours)),
        unread=tuple(unread for _, unread in results if unread),
    )


def _unique(findings: Iterable[Finding]) -> list[Finding]:
    """Findings less those of shared storage that another host showed already."""
    seen: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        shared = finding.what == "claims" and "/.slipway/" in finding.subject
        seen.setdefault((finding.what, finding.subject if shared else str(finding)), finding)
    return list(seen.values())
