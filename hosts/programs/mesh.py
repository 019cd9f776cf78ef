"""The SSH mesh of a stack: keys made on each node, pinned on all others, changed on request, and proven for all pairs.

keys CONF HOST PRIVATE [TIMEOUT_S]
    makes this node's keys, publishes the public halves in FOLDER/mesh, waits for the peers', configures sshd and ssh
serve CONF HOST PRIVATE
    becomes the sshd; in the node's container where there is one
keep CONF HOST PRIVATE
    stays: follows the peers' keys, changes its own when the epoch moves, tests each peer when a proof is asked for
test CONF HOST PRIVATE
    what `keep` runs beside the sshd: prints {PEER: what is wrong with the way to it, or nothing} as JSON
pairs CONF [TIMEOUT_S]
    has all nodes test all others; exits 1 with each pair that is bad
rotate CONF [TIMEOUT_S]
    has all nodes change their keys, without a restart; exits 1 with the node that does not follow

CONF is {"stack", "folder", "port", "user": whom sshd lets in, "hosts": [{"name", "address", "interface", "gpus"}] in
the order of ranks, "enter": {HOST: argv before a command that shall run in its container}}. PRIVATE is a folder of the
node's own, mode 0700, at the same path in its container. What others publish is on shared storage and is not trusted:
it is read with a bound, and nothing of it but whole keys, digests and plain words is used.

Standard library of Python 3.10 only.
"""

from __future__ import annotations

import array
import base64
import concurrent.futures
import fcntl
import hashlib
import ipaddress
import json
import os
import re
import secrets
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Keys = tuple[tuple[str, str], ...]
    """A node's (host key, user key), the oldest first: one pair, or two while it changes."""

PROGRESS = "\x1f"
POLL_S, IDLE_POLL_S, LIVELY_S = 0.2, 1.0, 60.0
"""`keep` looks often for a while after each change, and then less: the storage is everybody's."""
KEYS_TIMEOUT_S, PAIRS_TIMEOUT_S, ROTATE_TIMEOUT_S = 120.0, 60.0, 60.0
CONNECT_TIMEOUT_S, TEST_TIMEOUT_S, RETEST_S = 5, 15, 1.0
SHOWN_EVERY_S = 10.0
MAX_BYTES = 1 << 16
SSHD = "/usr/sbin/sshd"
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,61}[A-Za-z0-9])?")
WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:-]{0,63}")
KEY = re.compile(r"ssh-ed25519 [A-Za-z0-9+/]{68}")
KEY_START = b"\0\0\0\x0bssh-ed25519\0\0\0\x20"
HEX = re.compile(r"[0-9a-f]{0,64}")
FOREIGN = re.compile(
    r"(?:SLURM|SLURMD|SBATCH|SRUN|PMI|PMI2|PMIX|OMPI|PRTE|SSH|XDG|SYSTEMD|LISTEN|NOTIFY)_|_$|container$"
)
OWN = ("HOME", "HOSTNAME", "LOGNAME", "MAIL", "OLDPWD", "PWD", "SHELL", "SHLVL", "TERM", "USER", "INVOCATION_ID")
SIOCGIFCONF = 0x8912
ASK = 'echo "slipway $SLIPWAY_STACK $SLIPWAY_MESH_HOST $SSH_CONNECTION"'


class Wrong(ValueError):
    """Something is not what it must be; the text says what, where, found and wanted."""


class Node(NamedTuple):
    """A machine of the mesh."""

    name: str
    address: str
    interface: str
    gpus: int


class Mesh(NamedTuple):
    """What CONF declares."""

    stack: str
    folder: str
    port: int
    user: str
    nodes: tuple[Node, ...]
    enter: dict[str, tuple[str, ...]]

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def peers(self, name: str) -> list[Node]:
        return [node for node in self.nodes if node.name != name]

    def shared(self, name: str) -> str:
        return f"{self.folder}/mesh/{name}"


class Published(NamedTuple):
    """What a node says of itself: its keys, the digests of the keys that it accepts, what it saw of its peers."""

    epoch: int
    keys: Keys
    accepts: dict[str, str]
    proof: str = ""
    reach: Mapping[str, str] = {}


# ---- what was declared


def load(path: str) -> Mesh:
    """CONF, checked; raises Wrong."""
    try:
        with open(path, encoding="utf-8") as file:
            said = json.load(file)
        nodes = tuple(Node(h["name"], h["address"], h["interface"], int(h["gpus"])) for h in said["hosts"])
        enter = {name: tuple(map(str, argv)) for name, argv in said["enter"].items()}
        mesh = Mesh(said["stack"], said["folder"], int(said["port"]), said["user"], nodes, enter)
        for node in nodes:
            ipaddress.IPv4Address(node.address)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Wrong(f"{path} is no mesh: {type(error).__name__}: {error}; have `pulumi up` write it anew") from None
    words = [mesh.stack, mesh.user, *(node.interface for node in nodes)]
    bad = [word for word in words if not WORD.fullmatch(word)] + [n.name for n in nodes if not NAME.fullmatch(n.name)]
    if bad or not mesh.folder.startswith("/") or re.search(r"[\s\"'%]", mesh.folder):
        raise Wrong(f"{path} is no mesh: {bad or mesh.folder!r}: wanted plain names, and a folder without blanks")
    if len({n.name for n in nodes}) < len(nodes) or len({n.address for n in nodes}) < len(nodes):
        raise Wrong(f"{path} is no mesh: two hosts have one name or one address; give each its own")
    return mesh


# ---- files


def write(path: str, text: str) -> None:
    """The whole file or none of it, for this user alone; as it is where it says so already."""
    try:
        with open(path, encoding="utf-8") as old:
            if old.read() == text:
                return
    except (OSError, ValueError):
        pass
    new = f"{path}.{os.getpid()}.new"
    with open(
        os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


def read(path: str) -> str:
    """A small regular file that this user wrote and no other can; raises Wrong or OSError."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            what = f"owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):o}"
            raise Wrong(f"{path}: found {what}; wanted a file of user {os.geteuid()} that no other can write")
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise Wrong(f"{path} has over {MAX_BYTES} bytes")
    return data.decode("utf-8", "replace")


def folder(path: str) -> None:
    """Makes it, mode 0700; raises Wrong where it is another's, a link, or open to others."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            what = f"owner {found.st_uid}, mode {found.st_mode:o}"
            raise Wrong(
                f"{path}: found {what}; wanted a folder of user {os.geteuid()}, mode 0700: remove it, and start again"
            ) from None


# ---- what peers publish


def key(text: object) -> str:
    """An ed25519 public key, nothing before or behind it; raises Wrong."""
    if isinstance(text, str) and KEY.fullmatch(text) and base64.b64decode(text.split()[1]).startswith(KEY_START):
        return text
    raise Wrong("a key there is no bare ed25519 key")


def plain(text: object) -> str:
    """Words of a peer, harmless on a screen."""
    return re.sub(r"[^ -~]", "?", str(text))[:400]


def parse(text: str, mesh: Mesh) -> Published:
    """What a node published; raises Wrong."""
    names = {node.name for node in mesh.nodes}
    try:
        said = json.loads(text)
        keys = tuple((key(pair["host"]), key(pair["user"])) for pair in said["keys"])
        accepts = {str(name): str(digest) for name, digest in said["accepts"].items()}
        reach = {str(name): plain(cause) for name, cause in said["reach"].items()}
        epoch, proof = said["epoch"], said["proof"]
        if not (type(epoch) is int and 0 < epoch < 1 << 31 and isinstance(proof, str) and 0 < len(keys) <= 2):
            raise Wrong("epoch, proof or the number of keys is none")
        if not (names >= accepts.keys() | reach.keys() and all(map(HEX.fullmatch, [proof, *accepts.values()]))):
            raise Wrong("a name or a digest in it is none")
    except Wrong:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Wrong(f"{type(error).__name__}: {plain(error)}") from None
    return Published(epoch, keys, accepts, proof, reach)


def published(mesh: Mesh, name: str) -> Published | str:
    """A node's word, or why there is none."""
    path = mesh.shared(f"{name}.json")
    try:
        return parse(read(path), mesh)
    except FileNotFoundError:
        return f"{name} has published no keys yet"
    except Wrong as error:
        return f"{path} is not what a node publishes: {error}; remove it, and restart the stack on {name}"
    except OSError as error:
        return f"{path} can't be read: {error.strerror}"


def digest(keys: Keys) -> str:
    return hashlib.sha256(json.dumps(keys).encode()).hexdigest()


def asked(mesh: Mesh, name: str) -> str:
    """The word in FOLDER/mesh/NAME, `epoch` or `proof`; empty where nothing good is there."""
    try:
        text = read(mesh.shared(name)).strip()
    except (OSError, Wrong):
        return ""
    return text if HEX.fullmatch(text) else ""


def wanted_epoch(mesh: Mesh) -> int:
    text = asked(mesh, "epoch")
    return int(text) if text.isdecimal() and len(text) < 10 else 1


# ---- this node's own keys and files


def epochs(private: str) -> list[int]:
    """The epochs whose keys are here and whole, the oldest first."""
    names = set(os.listdir(private))
    found = [int(name[5:-4]) for name in names if re.fullmatch(r"user\.\d+\.pub", name)]
    return sorted(n for n in found if {f"host.{n}", f"host.{n}.pub", f"user.{n}"} <= names)


def make_keys(private: str, epoch: int) -> None:
    """New keys; the user's last, because its public half says that all are here."""
    drop_keys(private, epoch)
    for name in ("host", "user"):
        path = f"{private}/{name}.{epoch}"
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Wrong(f"no key in {private}: {(done.stderr or done.stdout).strip()[-300:]}; is its disk full?")


def drop_keys(private: str, epoch: int) -> None:
    for name in (f"user.{epoch}.pub", f"host.{epoch}.pub", f"user.{epoch}", f"host.{epoch}"):
        if os.path.lexists(f"{private}/{name}"):
            os.remove(f"{private}/{name}")


def own_keys(private: str) -> Keys:
    """The public halves, the oldest first."""
    pairs = ((read(f"{private}/host.{n}.pub"), read(f"{private}/user.{n}.pub")) for n in epochs(private))
    return tuple((key(host.strip()), key(user.strip())) for host, user in pairs)


def write_peers(mesh: Mesh, private: str, keys: Mapping[str, Keys]) -> None:
    """Whom ssh believes and whom sshd lets in: these keys, each at its node's own address."""
    hosts, users = [], []
    for node in mesh.nodes:
        place = node.address if mesh.port == 22 else f"[{node.address}]:{mesh.port}"
        hosts += [f"{place} {host}\n" for host, _ in keys.get(node.name, ())]
        users += [f'restrict,from="{node.address}" {user} {node.name}\n' for _, user in keys.get(node.name, ())]
    write(f"{private}/known_hosts", "".join(hosts))
    write(f"{private}/authorized_keys", "".join(users))


def write_own(mesh: Mesh, name: str, private: str, epoch: int) -> None:
    """What sshd and ssh run with, by the keys of an epoch."""
    address = mesh.node(name).address
    root = "prohibit-password" if mesh.user == "root" else "no"
    write(
        f"{private}/sshd_config",
        f"Port {mesh.port}\nAddressFamily inet\nListenAddress {address}\nPidFile {private}/sshd.pid\n"
        f"HostKey {private}/host.{epoch}\nHostKeyAlgorithms ssh-ed25519\nAuthorizedKeysFile {private}/authorized_keys\n"
        # /tmp is in the path of these files, which StrictModes refuses; `folder` has checked whose they are
        f"StrictModes no\nAllowUsers {mesh.user}\nPermitRootLogin {root}\n"
        "PubkeyAuthentication yes\nAuthenticationMethods publickey\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nHostbasedAuthentication no\nUsePAM no\nDisableForwarding yes\n"
        "AllowAgentForwarding no\nAllowTcpForwarding no\nAllowStreamLocalForwarding no\nX11Forwarding no\n"
        "GatewayPorts no\nPermitTunnel no\nPermitTTY no\nPermitUserRC no\nPermitUserEnvironment no\nUseDNS no\n"
        "PrintMotd no\nLoginGraceTime 20\nMaxStartups 128\nClientAliveInterval 30\nClientAliveCountMax 4\n"
        "LogLevel VERBOSE\n",
    )
    write(
        f"{private}/ssh_config",
        f"Host *\nUser {mesh.user}\nPort {mesh.port}\nAddressFamily inet\nBindAddress {address}\nBatchMode yes\n"
        f"IdentityFile {private}/user.{epoch}\nIdentitiesOnly yes\nIdentityAgent none\nStrictHostKeyChecking yes\n"
        f"UserKnownHostsFile {private}/known_hosts\nGlobalKnownHostsFile /dev/null\nHostKeyAlgorithms ssh-ed25519\n"
        "UpdateHostKeys no\nCheckHostIP no\nVerifyHostKeyDNS no\nPreferredAuthentications publickey\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nForwardAgent no\nForwardX11 no\n"
        f"ClearAllForwardings yes\nControlMaster no\nControlPath none\nConnectTimeout {CONNECT_TIMEOUT_S}\n"
        "ServerAliveInterval 30\nServerAliveCountMax 4\nLogLevel ERROR\n",
    )


# ---- modes


def keys(mesh: Mesh, name: str, private: str, timeout_s: float = KEYS_TIMEOUT_S) -> None:
    """Keys of a new run: what an earlier one left is gone, here and for the peers."""
    check_interface(mesh.node(name))
    if re.search(r"[\s\"'%]", private):
        raise Wrong(f"{private!r}: wanted a folder without blanks")
    folder(private)
    folder(mesh.shared("").rstrip("/"))
    for left in os.listdir(private):
        if re.fullmatch(r"(?:host|user)\.\d+(?:\.pub)?", left):
            os.remove(f"{private}/{left}")
    epoch = wanted_epoch(mesh)
    make_keys(private, epoch)
    own = own_keys(private)
    write_own(mesh, name, private, epoch)
    began, shown = time.monotonic(), -SHOWN_EVERY_S
    said = publish(mesh, name, Published(epoch, own, {}))
    while True:
        found = {node.name: published(mesh, node.name) for node in mesh.peers(name)}
        missing = {peer: why for peer, why in found.items() if isinstance(why, str)}
        write_peers(mesh, private, {p: f.keys for p, f in found.items() if not isinstance(f, str)} | {name: own})
        if not missing:
            break
        waited = time.monotonic() - began
        if waited > timeout_s:
            causes = "".join(f"\n  {name} waits for {peer}: {why}" for peer, why in missing.items())
            raise Wrong(f"no mesh after {waited:.0f} s:{causes}\nDo these nodes run, and see {mesh.folder}?")
        if waited - shown > SHOWN_EVERY_S:
            print(f"{PROGRESS}{name} waits for {', '.join(missing)} ({waited:.0f} s)", flush=True)
            shown = waited
        time.sleep(POLL_S)
    publish(mesh, name, said._replace(accepts={p: digest(f.keys) for p, f in found.items() if not isinstance(f, str)}))


def publish(mesh: Mesh, name: str, own: Published) -> Published:
    pairs = [{"host": host, "user": user} for host, user in own.keys]
    write(mesh.shared(f"{name}.json"), json.dumps({**own._asdict(), "keys": pairs}) + "\n")
    return own


def serve(mesh: Mesh, name: str, private: str) -> None:
    """Becomes sshd; what it starts gets this process's environment, less what belongs to a job, a login or a unit."""
    if os.getuid() == 0:
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    words = [f"{k}={v}" for k, v in sorted(environment(os.environ).items()) if not k.startswith("SLIPWAY_")]
    words = [f"SLIPWAY_STACK={mesh.stack}", f"SLIPWAY_MESH_HOST={name}", *words]
    options = ["-o", "SetEnv " + " ".join(f'"{word}"' for word in words)]
    version = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False).stderr
    found = re.search(r"OpenSSH_(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) >= (9, 8):
        # its own punishment of addresses would lock out a peer whose new key is not known here yet
        options += ["-o", "PerSourcePenalties no"]
    os.execv(SSHD, [SSHD, "-D", "-e", "-f", f"{private}/sshd_config", *options])  # noqa: S606


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """What of an environment a rank may see: nothing of SLURM, PMI or a login; nothing that sshd can't quote."""
    return {
        name: value
        for name, value in env.items()
        if re.fullmatch(r"[A-Za-z_]\w*", name)
        and not FOREIGN.match(name)
        and name not in OWN
        and not re.search(r"[\"\\\0-\x1f]", value)
    }


class Keeper:
    """The state of `keep`: the last good word of each peer, this node's own, and the test that runs."""

    def __init__(self, mesh: Mesh, name: str, private: str, program: Sequence[str]) -> None:
        self.mesh, self.name, self.private, self.program = mesh, name, private, program
        self.peers: dict[str, Published] = {}
        self.own = self.shown = Published(0, (), {})
        self.changed = time.monotonic()
        self.said: dict[str, str] = {}
        self.test: subprocess.Popen[str] | None = None
        self.test_began, self.tested, self.proof = 0.0, 0.0, ""

    def say(self, what: str, text: str) -> None:
        """Prints news, once."""
        if text and self.said.get(what) != text:
            print(text, flush=True)
        self.said[what] = text

    def step(self) -> None:
        """One look at the peers and what follows from it; may raise OSError or Wrong, and is then tried again."""
        for node in self.mesh.peers(self.name):
            found = published(self.mesh, node.name)
            self.say(node.name, found if isinstance(found, str) else "")
            if not isinstance(found, str):
                self.peers[node.name] = found
        present = epochs(self.private)
        if not present:
            raise Wrong(f"no keys in {self.private}; `mesh.py keys` makes them before `keep`")
        wanted = wanted_epoch(self.mesh)
        if len(present) == 1 and wanted > present[0]:
            print(f"{self.name}: new keys, epoch {wanted}", flush=True)
            make_keys(self.private, wanted)
        elif len(present) == 2 and self.followed():
            self.switch(*present)
        own = own_keys(self.private)
        write_peers(self.mesh, self.private, {name: peer.keys for name, peer in self.peers.items()} | {self.name: own})
        self.testing()
        accepts = {name: digest(peer.keys) for name, peer in self.peers.items()}
        now = self.own._replace(epoch=epochs(self.private)[-1], keys=own, accepts=accepts)
        if now != self.shown:
            self.changed, self.shown = time.monotonic(), now
        self.own = now
        publish(self.mesh, self.name, now)

    def followed(self) -> bool:
        """Whether all peers accept the keys that this node has now, the new ones among them."""
        mine = digest(own_keys(self.private))
        return all(
            node.name in self.peers and self.peers[node.name].accepts.get(self.name) == mine
            for node in self.mesh.peers(self.name)
        )

    def switch(self, old: int, new: int) -> None:
        """From the old keys to the new; connections that stand go on, and the old private keys are gone."""
        write_own(self.mesh, self.name, self.private, new)
        pid = f"{self.private}/sshd.pid"
        script = f'p=$(cat {pid}) && read -r c </proc/$p/comm && [ "$c" = sshd ] && kill -HUP "$p"'
        command = [*self.mesh.enter.get(self.name, ()), "/bin/sh", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TEST_TIMEOUT_S)
        if done.returncode != 0:
            raise Wrong(
                f"{self.name}: its sshd does not take the new keys: {done.stderr.strip()[-300:] or 'none runs'}"
            )
        drop_keys(self.private, old)
        print(f"{self.name}: epoch {new} is in use, the keys of epoch {old} are gone", flush=True)

    def testing(self) -> None:
        """Starts a test where a proof asks for one or the last had a bad end, and takes in what it found."""
        if self.test is not None:
            code = self.test.poll()
            if code is None and time.monotonic() - self.test_began < 2 * TEST_TIMEOUT_S:
                return
            self.test.kill()
            self.own = self.own._replace(proof=self.proof, reach=self.found(*self.test.communicate()))
            self.test, self.tested = None, time.monotonic()
        asked_now = asked(self.mesh, "proof")
        bad = any(self.own.reach.values()) and time.monotonic() - self.tested > RETEST_S
        if asked_now and (asked_now != self.own.proof or bad):
            self.proof, self.test_began = asked_now, time.monotonic()
            enter = self.mesh.enter.get(self.name, ())
            self.test = subprocess.Popen(
                [*enter, *self.program, self.name, self.private],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

    def found(self, out: str, err: str) -> dict[str, str]:
        """By peer; a test that did not come to its end says of each why."""
        try:
            return {str(name): plain(cause) for name, cause in json.loads(out).items()}
        except (ValueError, AttributeError):
            what = plain(err.strip()[-300:]) or "its test did not end"
            why = f"{self.name} can't test: {what}; does its container run?"
            return {node.name: why for node in self.mesh.peers(self.name)}


def keep(mesh: Mesh, name: str, private: str, conf: str) -> None:
    """Until it is ended; a full disk or storage that is away for a while is waited out."""
    keeper = Keeper(mesh, name, private, [python(), "-I", os.path.abspath(__file__), "test", os.path.abspath(conf)])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        try:
            keeper.step()
        except (OSError, Wrong, subprocess.TimeoutExpired) as error:
            keeper.say("step", f"{name}: {error}")
        time.sleep(POLL_S if time.monotonic() - keeper.changed < LIVELY_S else IDLE_POLL_S)


def python() -> str:
    """What starts these programs in a container, whose Python is another than this one."""
    return "python3"


# ---- the way to a peer


def interfaces() -> list[tuple[str, str]]:
    """(interface, address) of this machine, IPv4."""
    room = array.array("B", bytes(40 * 256))
    place, size = room.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        filled = struct.unpack("iL", fcntl.ioctl(probe.fileno(), SIOCGIFCONF, struct.pack("iL", size, place)))[0]
    rows = (room[n : n + 40].tobytes() for n in range(0, filled, 40))
    return [(row[:16].split(b"\0")[0].decode(), socket.inet_ntoa(row[20:24])) for row in rows]


def interface_of(address: str) -> str | None:
    """The interface that has an address of this machine's."""
    if ipaddress.IPv4Address(address).is_loopback:
        return "lo"
    return next((name for name, own in interfaces() if own == address), None)


def check_interface(node: Node) -> None:
    """Raises Wrong where the declared interface has not the declared address."""
    found = interface_of(node.address)
    if found != node.interface:
        has = ", ".join(f"{name} has {own}" for name, own in interfaces())
        raise Wrong(
            f"wrong interface on {node.name}: {node.address} is on {found or 'none'}, declared is {node.interface} "
            f"({has}); correct the inventory's interface or address"
        )


def source_towards(address: str) -> str:
    """This machine's own address on the way to another."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))
        return str(probe.getsockname()[0])


def test(mesh: Mesh, name: str, private: str) -> dict[str, str]:
    """By peer, what is wrong with the way to it; all at once."""
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        peers = mesh.peers(name)
        return dict(zip([p.name for p in peers], pool.map(lambda p: reach(mesh, name, private, p), peers), strict=True))


def reach(mesh: Mesh, name: str, private: str, peer: Node) -> str:
    """Empty where ssh gets to the right host, of the right stack, over the right interface."""
    own = mesh.node(name)
    try:
        check_interface(own)
        source = source_towards(peer.address)
        if interface_of(source) != own.interface:
            raise Wrong(f"wrong interface: {interface_of(source)} ({source}) leads there, declared is {own.interface}")
        done = subprocess.run(
            ["ssh", "-F", f"{private}/ssh_config", peer.address, ASK],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TEST_TIMEOUT_S,
            check=False,
        )
        said = done.stderr.strip() or f"ssh ended with {done.returncode}"
        return cause(said, mesh, own, peer) if done.returncode else answered(done.stdout.split(), mesh, own, peer)
    except Wrong as error:
        return str(error)
    except (OSError, subprocess.TimeoutExpired) as error:
        return cause(str(error), mesh, own, peer)


def answered(words: Sequence[str], mesh: Mesh, own: Node, peer: Node) -> str:
    """What is wrong with the answer of a peer's sshd."""
    if list(words[:3]) != ["slipway", mesh.stack, peer.name]:
        return f"another mesh answers there: found {plain(' '.join(words[:3]))}, wanted {mesh.stack} {peer.name}"
    if len(words) != 7 or (words[3], words[5]) != (own.address, peer.address):
        return f"wrong interface: {peer.name} sees {plain(' '.join(words[3:]))}, wanted {own.address} to {peer.address}"
    return ""


CAUSES = (
    (
        r"HOST IDENTIFICATION HAS CHANGED|Host key verification failed|host key is known",
        "wrong host key: what answers on {place} is not the sshd of {peer}, but a man in the middle or another sshd",
    ),
    (r"refused", "closed port: nothing listens on {place}; does the sshd of {peer} run?"),
    (r"Permission denied", "permission denied: {peer} does not accept the key of {own} from {address}"),
    (r"timed out", "timed out: {peer} sleeps, or a firewall drops what goes to {place}"),
    (r"No route to host|unreachable", "no route from {own} to {place}"),
    (r"[Cc]losed|reset by peer", "{place} closed the connection; the log of the sshd of {peer} says why"),
    (r"directory: 'ssh'", "ssh is not installed on {own}; use an image with openssh-client in it"),
)


def cause(said: str, mesh: Mesh, own: Node, peer: Node) -> str:
    """What ssh said, in plain words."""
    place = f"{peer.address}:{mesh.port}"
    text = next((text for pattern, text in CAUSES if re.search(pattern, said)), None)
    if text is None:
        return f"ssh to {place} says: {plain(said.splitlines()[-1])}"
    return text.format(place=place, peer=peer.name, own=own.name, address=own.address)


# ---- all nodes at once


def pairs(mesh: Mesh, timeout_s: float = PAIRS_TIMEOUT_S) -> list[str]:
    """Has all nodes test all others until all is well; then nothing, else each bad pair and why."""
    began, shown = time.monotonic(), 0.0
    nonce = secrets.token_hex(8)
    write(mesh.shared("proof"), nonce + "\n")
    while True:
        # another proof may have begun after this one: its tests are as good
        nonce = asked(mesh, "proof") or nonce
        bad = bad_pairs(mesh, nonce)
        waited = time.monotonic() - began
        if not bad or waited > timeout_s:
            return bad
        if waited - shown > SHOWN_EVERY_S:
            print(f"{PROGRESS}mesh: {len(bad)} of {count(mesh)} pairs are not proven yet: {bad[0]}", flush=True)
            shown = waited
        time.sleep(POLL_S)


def count(mesh: Mesh) -> int:
    return len(mesh.nodes) * (len(mesh.nodes) - 1)


def bad_pairs(mesh: Mesh, nonce: str) -> list[str]:
    bad = []
    for node in mesh.nodes:
        found = published(mesh, node.name)
        for peer in mesh.peers(node.name):
            if isinstance(found, str):
                why = found
            elif found.proof != nonce:
                why = f"{node.name} does not answer: it sleeps, or `mesh.py keep` does not run on it"
            else:
                why = found.reach.get(peer.name, f"{node.name} has not tested it")
            if why:
                bad.append(f"{node.name} -> {peer.name}: {why}")
    return bad


def rotate(mesh: Mesh, timeout_s: float = ROTATE_TIMEOUT_S) -> list[str]:
    """New keys on all nodes, then a proof with them; what is left undone, and by whom."""
    found = [published(mesh, node.name) for node in mesh.nodes]
    epoch = 1 + max([wanted_epoch(mesh), *(f.epoch for f in found if not isinstance(f, str))])
    write(mesh.shared("epoch"), f"{epoch}\n")
    began, shown = time.monotonic(), ""
    while True:
        behind = not_rotated(mesh, epoch)
        if not behind or time.monotonic() - began > timeout_s:
            break
        if behind[0] != shown:
            print(f"{PROGRESS}epoch {epoch}: {behind[0]}", flush=True)
            shown = behind[0]
        time.sleep(POLL_S)
    return behind or pairs(mesh, timeout_s)


def not_rotated(mesh: Mesh, epoch: int) -> list[str]:
    """What nodes have yet to do before only the keys of an epoch are in use anywhere."""
    found = {node.name: published(mesh, node.name) for node in mesh.nodes}
    behind = []
    for name, own in found.items():
        if isinstance(own, str):
            behind.append(f"{name}: {own}")
        elif own.epoch < epoch:
            behind.append(f"{name} has not made new keys: it sleeps, or `mesh.py keep` does not run on it")
        else:
            for peer in mesh.peers(name):
                other = found[peer.name]
                if not isinstance(other, str) and other.accepts.get(name) != digest(own.keys):
                    behind.append(f"{peer.name} has not taken in the keys of {name}")
    if not behind:
        behind = [
            f"{n} still uses its old keys" for n, f in found.items() if not isinstance(f, str) and len(f.keys) > 1
        ]
    return behind


def main(argv: Sequence[str]) -> None:
    """By the mode; exits 1 with what is wrong."""
    mode, conf, *rest = argv
    try:
        mesh = load(conf)
        if mode in ("pairs", "rotate"):
            work: Callable[..., list[str]] = pairs if mode == "pairs" else rotate
            bad = work(mesh, *map(float, rest))
            if bad:
                what = (
                    f"the mesh of {mesh.stack} is not whole"
                    if mode == "pairs"
                    else f"the keys of {mesh.stack} changed in part"
                )
                raise Wrong("\n  ".join([f"{what}:", *bad]))
            print(f"mesh: all {count(mesh)} pairs of {len(mesh.nodes)} nodes are proven", flush=True)
            return
        name, private, *more = rest
        if not any(node.name == name for node in mesh.nodes):
            raise Wrong(f"{name} is no host of {conf}; wanted one of {', '.join(n.name for n in mesh.nodes)}")
        modes: dict[str, Callable[[], Any]] = {
            "keys": lambda: keys(mesh, name, private, *map(float, more)),
            "serve": lambda: serve(mesh, name, private),
            "keep": lambda: keep(mesh, name, private, conf),
            "test": lambda: print(json.dumps(test(mesh, name, private))),
        }
        modes[mode]()
    except (Wrong, OSError) as error:
        sys.exit(f"slipway: error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
