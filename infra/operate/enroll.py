"""Machines into a fleet file: their keys are accepted, one script reads each, and the file is written if it changes.

Nothing is written before every machine was read and the new file loads.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from hosts.connection import Connect, HostKey
from hosts.errors import Blocked, Failed, InputError, Refused, SlipwayError, Truncated, Unreachable, WrongHostKey
from hosts.facts import Facts, read, script
from hosts.fleet import NAME, NAME_WANTED, Fleet, Host, Storage, dump, parse
from hosts.problem import Problem
from hosts.schema import describe, load_yaml, parse_yaml
from hosts.text import printable
from infra.ledger.gpus import GPUS, named
from infra.operate import slurm_nodes
from infra.operate.fleet_file import Data, Machine, Request, Target, differences, made_up, merge, settings, summary
from infra.operate.job import ask_host

Ask = Callable[[str], bool]
T = TypeVar("T")

ADDRESS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:-]*")
HEADER = (
    "# Written by `invoke enroll`; review and commit it. What people write here, enrolling again keeps.\n"
    "# Every key: docs/reference.md.\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """What came of it: `changes` is empty where the file said it all already; `notes` are for a person to look at."""

    fleet: str
    path: Path
    changes: tuple[str, ...]
    notes: tuple[str, ...]
    facts: Mapping[str, Facts]
    backup: Path | None

    def lines(self) -> Iterator[str]:
        """The report for a person."""
        for name, facts in self.facts.items():
            yield f"{name}: {printable(summary(facts), keep='')}"
        yield from (f"  {printable(change, keep='')}" for change in self.changes)
        yield from (f"note: {printable(note, keep='')}" for note in self.notes)
        if self.backup:
            yield f"note: the comments inside the file are in {self.backup}; the file was written anew"
        yield f"wrote {self.path}; review it" if self.changes else f"nothing changed in {self.path}"

    def to_json(self) -> Data:
        """The document of `--json`."""
        return {
            "fleet": self.fleet,
            "path": str(self.path),
            "changed": bool(self.changes),
            "changes": list(self.changes),
            "notes": list(self.notes),
            "backup": str(self.backup) if self.backup else None,
            "hosts": {name: asdict(facts) for name, facts in self.facts.items()},
        }


def enroll(
    request: Request,
    *,
    folder: Path,
    fetch: Callable[[Fleet, str], HostKey],
    connect_to: Callable[[Fleet], Connect],
    accept_new: Ask,
    accept_changed: Ask,
    say: Callable[[str], None],
) -> Enrolled:
    """Reads the machines and writes the fleet file below `folder`, if anything in it changes.

    `accept_new` is asked about the key of a machine that has none pinned, `accept_changed` about one that shows another
    key than its pinned one. Raises InputError, Unreachable, WrongHostKey or Blocked with everything that is in the way.
    """
    path = folder / f"{request.fleet}.yaml"
    _check(request, path)
    existing: Data | None = None
    known: tuple[Host, ...] = ()
    if path.is_file():
        loaded = load_yaml(path)
        known = tuple(host for host in parse(request.fleet, loaded, str(path)).hosts if not made_up(host.host_key))
        assert isinstance(loaded, dict)  # or parse had refused it
        existing = loaded
    start = settings(existing, request)
    fleet = Fleet(
        name=request.fleet,
        hosts=known,
        slurm=start["slurm"],
        storage=Storage(path=start["storage"]["path"]),
        known_hosts=start.get("known_hosts") or "",
        identity=start.get("identity") or "",
    )
    targets = _targets(request, fleet)
    declares = _declares(request, targets, start["slurm"])
    machines = _read_all(
        fleet,
        targets,
        fetch=fetch,
        connect_to=connect_to,
        accept_new=accept_new,
        accept_changed=accept_changed,
        say=say,
    )
    document, notes = merge(existing, request, machines)
    if declares:
        say("reading nodes from the login host's SLURM")
        pinned = _with(fleet, [replace(machine.target.host, host_key=machine.key.pin) for machine in machines])
        document, more = _declared(document, request, machines, connect_to(pinned))
        notes = (*notes, *more)
    changes = tuple(differences(existing or {}, document))
    text = _header(path) + dump(document)
    parse(request.fleet, parse_yaml(text), str(path))
    return Enrolled(
        fleet=request.fleet,
        path=path,
        changes=changes,
        notes=notes,
        facts={machine.name: machine.facts for machine in machines},
        backup=_write(path, text) if changes else None,
    )


def _check(request: Request, path: Path) -> None:
    problems = []
    if not NAME.fullmatch(request.fleet):
        problems.append(Problem(where="$.fleet", found=repr(request.fleet), wanted=NAME_WANTED))
    elif not request.storage and not path.is_file():
        wanted = "the folder on shared storage for environments, weights and logs"
        problems.append(Problem(where="--storage", found="nothing", wanted=wanted, fix="add --storage /PATH"))
    if not request.hosts and not request.login:
        wanted = "the machines to read, by address; on a site whose nodes you may not log in to --login alone"
        problems.append(Problem(where="HOST", found="nothing", wanted=wanted))
    if request.gpu and named(request.gpu) is None:
        wanted = f"one of {', '.join(GPUS)}"
        problems.append(Problem(where="--gpu", found=describe(request.gpu), wanted=wanted))
    if request.storage and not request.storage.startswith("/"):
        wanted = "the absolute path of the folder on the hosts"
        problems.append(Problem(where="--storage", found=describe(request.storage), wanted=wanted))
    if request.slurm not in ("", "ours", "existing", "none"):
        problems.append(Problem(where="--slurm", found=repr(request.slurm), wanted="ours, existing or none"))
    if problems:
        raise InputError(problems)


def _declares(request: Request, targets: Sequence[Target], slurm: str) -> bool:
    """Whether nodes are read from a site's SLURM: only its login host is named, or the way there. Raises InputError."""
    only_login = all(target.login or target.host.name == targets[0].host.jump for target in targets)
    asked = request.slurm == "existing" or bool(request.partition or request.gpu)
    if request.gpu and not (slurm == "existing" and only_login):
        why = "it is for nodes that are read from a site's SLURM; others say themselves what they have"
        raise InputError([Problem(where="--gpu", found=repr(request.gpu), wanted="nothing", why=why)])
    return slurm == "existing" and only_login and asked


def _declared(
    document: Data, request: Request, machines: Sequence[Machine], connect: Connect
) -> tuple[Data, tuple[str, ...]]:
    """The document with the nodes that the login host's SLURM lists, and notes. Raises Blocked or Failed."""
    login = next(machine for machine in machines if machine.target.login)
    listed = ask_host(login.target.host.name, connect, slurm_nodes.SHOW)[0]
    nodes, left_out = slurm_nodes.parse(listed, login.name)
    if not nodes:
        raise Blocked(
            [f"the SLURM of {login.name} lists no node with GPUs that can be declared", *left_out], slurm_nodes.NOTHING
        )
    partition = slurm_nodes.partition_of(nodes, request.partition or document.get("partition", ""))
    hosts, notes = slurm_nodes.declare(
        document["hosts"], nodes, partition=partition, gpu=request.gpu, user=login.target.host.user
    )
    ordered = {"slurm": document["slurm"], "partition": partition} | document | {"partition": partition, "hosts": hosts}
    return ordered, (*notes, *(f"left out: {reason}" for reason in left_out))


def _targets(request: Request, fleet: Fleet) -> list[Target]:
    """What to read, each once, with the request's words over those of the file. Raises InputError."""
    words = list(dict.fromkeys(request.hosts))
    if request.login and not any(request.login in (word, *word.split("=", 1)) for word in words):
        words.insert(0, request.login)
    problems = []
    targets: list[Target] = []
    for word in words:
        name, _, address = word.rpartition("=")
        known = _known(fleet, name, address, request.port)
        if not name and known is not None:
            address = known.address
        if not ADDRESS.fullmatch(address) or (name and not NAME.fullmatch(name)):
            wanted = "ADDRESS, NAME=ADDRESS, or a host of the fleet"
            problems.append(Problem(where="HOST", found=repr(word), wanted=wanted))
            continue
        host = Host(
            name=known.name if known else name or address,
            address=address,
            port=request.port or (known.port if known else 22),
            user=request.user or (known.user if known else request.default_user),
            sudo=False,
            jump=request.jump or (known.jump if known else ""),
            host_key=known.host_key if known else "",
        )
        if any(host.name == other.host.name for other in targets):
            problems.append(Problem(where="HOST", found=f"{host.name} twice", wanted="each machine once"))
        login = bool(request.login) and request.login in (word, name, address, host.name)
        targets.append(Target(host=host, name=name, known=known.name if known else "", login=login))
    if problems:
        raise InputError(problems)
    return _through(request.jump, targets, fleet)


def _known(fleet: Fleet, name: str, address: str, port: int) -> Host | None:
    """The host of the file that is meant: by its address, else by its name."""
    at = (host for host in fleet.hosts if host.address == address and port in (0, host.port))
    return next(at, None) or next((host for host in fleet.hosts if host.name == (name or address)), None)


def _through(jump: str, targets: Sequence[Target], fleet: Fleet) -> list[Target]:
    """The targets, all but the jump host itself reached through it; `jump` "" leaves them. Raises InputError."""
    if not jump:
        return list(targets)
    among = (target.host.name for target in targets if jump in (target.host.name, target.host.address))
    name = next(among, jump)
    if name not in {*(target.host.name for target in targets), *(host.name for host in fleet.hosts)}:
        wanted = "a host of the fleet, or one of those to read"
        raise InputError([Problem(where="--jump", found=repr(jump), wanted=wanted)])
    return [replace(t, host=replace(t.host, jump="" if t.host.name == name else name)) for t in targets]


def _read_all(
    fleet: Fleet,
    targets: Sequence[Target],
    *,
    fetch: Callable[[Fleet, str], HostKey],
    connect_to: Callable[[Fleet], Connect],
    accept_new: Ask,
    accept_changed: Ask,
    say: Callable[[str], None],
) -> list[Machine]:
    """Every machine; jump hosts first, since the others are reached through them. Raises with all failures at once."""
    machines: dict[str, Machine] = {}
    failures: list[SlipwayError] = []
    through = {target.host.jump for target in targets}
    jumps = [target for target in targets if target.host.name in through]
    for wave in (jumps, [target for target in targets if target.host.name not in through]):
        reachable: list[Target] = []
        for target in wave:
            if target.host.jump in {t.host.name for t in jumps} - machines.keys():
                failures.append(Unreachable(f"{target.host.name}: not tried, its jump host {target.host.jump} failed"))
            else:
                reachable.append(target)
        fleet = _with(fleet, [target.host for target in reachable])
        if not reachable:
            continue
        say(f"asking {_names(reachable)} for host keys")
        shown = _each(reachable, partial(fetch, fleet), failures)
        refused = {name: _refused(fleet.host(name), key, accept_new, accept_changed) for name, key in shown.items()}
        failures += filter(None, refused.values())
        keys = {name: key for name, key in shown.items() if refused[name] is None}
        fleet = _with(fleet, [replace(fleet.host(name), host_key=key.pin) for name, key in keys.items()])
        accepted = [target for target in reachable if target.host.name in keys]
        if not accepted:
            continue
        say(f"reading {_names(accepted)}")
        connect = connect_to(fleet)
        found = _each(accepted, partial(_read, connect, fleet.storage.path), failures)
        for target in accepted:
            name = target.host.name
            if name in found:
                machines[name] = Machine(target=target, key=keys[name], facts=found[name])
    if failures:
        order = (Unreachable, WrongHostKey, Refused)
        worst = next((kind for kind in order if any(type(failure) is kind for failure in failures)), Failed)
        hint = (
            "\n  (nodes of a site's SLURM need no SSH: name its login host alone, and they are read from SLURM)"
            if fleet.slurm == "existing" and any(not target.login for target in targets)
            else ""
        )
        raise worst("nothing was written, because:\n" + "\n".join(f"  {failure}" for failure in failures) + hint)
    return [machines[target.host.name] for target in targets]


def _with(fleet: Fleet, hosts: Sequence[Host]) -> Fleet:
    mine = {host.name for host in hosts}
    return replace(fleet, hosts=(*(host for host in fleet.hosts if host.name not in mine), *hosts))


def _names(targets: Sequence[Target]) -> str:
    return ", ".join(target.host.name for target in targets)


def _each(targets: Sequence[Target], what: Callable[[str], T], failures: list[SlipwayError]) -> dict[str, T]:
    """What `what` answers by host name, asked of all at once; what failed goes to the list."""

    def one(target: Target) -> T | SlipwayError:
        try:
            return what(target.host.name)
        except SlipwayError as error:
            return error

    answers: dict[str, T] = {}
    with ThreadPoolExecutor(max(1, min(32, len(targets)))) as pool:
        for target, answer in zip(targets, pool.map(one, targets), strict=True):
            if isinstance(answer, SlipwayError):
                failures.append(answer)
            else:
                answers[target.host.name] = answer
    return answers


def _refused(host: Host, key: HostKey, accept_new: Ask, accept_changed: Ask) -> SlipwayError | None:
    """Why this key is not taken; None where it is the pinned one, or somebody said yes."""
    if key.pinned == key.pin:
        return None
    shown = f"{host.name} ({host.address}:{host.port}) shows the host key {key.pin.split()[0]} {key.fingerprint}"
    if key.changed:
        if accept_changed(f"{shown}, but {key.pinned_fingerprint} is pinned for it; was it installed anew?"):
            return None
        return WrongHostKey(
            f"{shown}, but the fleet pins {key.pinned_fingerprint}; find out on its console which is right "
            "(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), and accept the new one where you are asked"
        )
    if accept_new(f"{shown}; is this the one that the site publishes, or its console shows?"):
        return None
    return Refused(
        f"{shown}, which was not accepted; compare it with what the site publishes or the machine's console shows, "
        "then answer y on a terminal, or add --accept-new"
    )


def _read(connect: Connect, storage: str, name: str) -> Facts:
    asked = script(storage)
    facts = read(storage, asked, connect(name)(asked).stdout)
    if facts is None:
        raise Truncated(f"{name}: the answer was cut short; is bash there, and does the login shell print nothing odd?")
    return facts


def _header(path: Path) -> str:
    """The comment lines that the file begins with, ours where it is new."""
    if not path.is_file():
        return HEADER
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    end = next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "".join(lines[:end])


def _write(path: Path, text: str) -> Path | None:
    """Replaces the file in one step; the old one stays beside it where it had comments that the new one has not."""
    backup = None
    if path.is_file():
        old = path.read_text(encoding="utf-8")
        if re.search(r"(^|\s)#", old.removeprefix(_header(path)), re.MULTILINE):
            backup = path.with_name(path.name + ".bak")
            backup.write_text(old, encoding="utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
    return backup
