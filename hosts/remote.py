"""One SSH connection a host for the life of a process, with pinned host keys, and scripts sent through its sessions."""

import base64
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import paramiko
from fabric import Config, Connection

from hosts.connection import KILLED, LOST, HostKey, Output, Progress, Remote
from hosts.errors import Cancelled, InputError, Truncated, Unreachable, WrongHostKey
from hosts.fleet import Fleet, Host
from hosts.problem import Problem
from hosts.shell import PROGRESS

CONNECT_TIMEOUT_S = 5.0
IDLE_TIMEOUT_S = 180.0
"""Longest silence of a script that works; what takes longer than that prints progress."""
READ_TIMEOUT_S = 30.0
"""Longest silence of a script that only reads, and of a host before a script starts."""
SLOW_S = 5.0
"""Silence after which progress names the host that does not answer."""
CANCEL_GRACE_S = 0.6
"""How long a cancel waits for a script that has shown no progress yet: it may be about to start detached work."""
STATUS_TIMEOUT_S = 5.0
POLL_S = 0.2
KEEPALIVE_S = 15
SESSIONS_PER_CONNECTION = 6
"""sshd allows ten (MaxSessions); the rest is left to the person at the keyboard."""
MAX_OUTPUT_BYTES = 64 << 20

# paramiko's threads log what they also raise, as tracebacks on standard error where nobody listens to the log
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class Connections:
    """The connections to one fleet, opened when first asked for; a host that failed once stays failed for this process.

    Setting `stop` ends every wait for a running script with Cancelled; what the script started on the host goes on.
    `say` gets (host, line) when a host that is only read is silent for long. Raises InputError where the fleet's
    `identity` is no readable file, before any connection.
    """

    def __init__(
        self, fleet: Fleet, stop: threading.Event | None = None, say: Callable[[str, str], None] | None = None
    ) -> None:
        _check_identity(fleet)
        self.fleet = fleet
        self.stop = stop
        self.say = say
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._open: dict[str, SshRemote | Unreachable] = {}

    def __call__(self, name: str) -> Remote:
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            known = self._open.get(name)
            if known is None:
                try:
                    host = self.fleet.host(name)
                    known = SshRemote(_connection(self.fleet, host), host, self.stop, self.say)
                except Unreachable as error:
                    known = error
                self._open[name] = known
        if isinstance(known, Unreachable):
            raise known
        return known

    def close(self) -> None:
        """Ends every connection."""
        for remote in self._open.values():
            if isinstance(remote, SshRemote):
                remote.connection.close()
        self._open.clear()


class SshRemote:
    """Runs scripts over one connection, fed through stdin to `sudo -n bash -s` (bash, where the host has no sudo)."""

    def __init__(
        self,
        connection: Connection,
        host: Host,
        stop: threading.Event | None = None,
        say: Callable[[str, str], None] | None = None,
    ) -> None:
        self.connection = connection
        self.host = host
        self.stop = stop or threading.Event()
        self.say = say
        self._sessions = threading.BoundedSemaphore(SESSIONS_PER_CONNECTION)

    def __call__(self, script: str, progress: Progress | None = None) -> Output:
        with self._sessions:
            return self._run(self._session(), script.encode("utf-8", "surrogateescape"), progress)

    def _session(self) -> paramiko.Channel:
        """A channel whose command has been started; raises Unreachable, also where the host hangs meanwhile."""
        transport = self.connection.transport
        assert transport is not None
        slow = threading.Timer(SLOW_S, self._tell_slow)
        slow.start()
        began = time.monotonic()
        try:
            channel: paramiko.Channel = transport.open_session(timeout=READ_TIMEOUT_S)
            # paramiko waits for the command's acknowledgement without end; closing the channel ends that
            late = threading.Timer(READ_TIMEOUT_S, channel.close)
            late.start()
            try:
                channel.exec_command("sudo -n -- bash -s" if self.host.sudo else "bash -s")
            finally:
                late.cancel()
        except (paramiko.SSHException, OSError, EOFError) as error:
            if time.monotonic() - began >= READ_TIMEOUT_S:
                raise self._silent() from error
            raise Unreachable(f"{self.host.name}: no session: {error or type(error).__name__}") from error
        finally:
            slow.cancel()
        return channel

    def _run(self, channel: paramiko.Channel, script: bytes, progress: Progress | None) -> Output:
        errors: list[bytes] = []
        channel.settimeout(READ_TIMEOUT_S)
        drain = threading.Thread(target=_drain, args=(channel, errors), daemon=True)
        drain.start()
        out = bytearray()
        try:
            try:
                channel.sendall(script)
                channel.shutdown_write()
            except (OSError, EOFError):
                pass  # sudo refused and closed its stdin: what it said on stderr is the better message
            channel.settimeout(POLL_S)
            lines = _Lines(progress)
            while chunk := self._receive(channel, lines):
                out += chunk
                lines.feed(chunk)
                if len(out) > MAX_OUTPUT_BYTES:
                    raise Truncated(
                        f"{self.host.name}: printed more than {MAX_OUTPUT_BYTES >> 20} MiB; the rest was not read"
                    )
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise Truncated(f"{self.host.name}: the connection broke in the middle of a script: {error}") from error
        finally:
            if not channel.exit_status_ready() and not channel.closed and not channel.eof_received:
                channel.close()
        drain.join(5.0)
        channel.status_event.wait(STATUS_TIMEOUT_S)
        status = channel.exit_status
        if status < 0:
            alive = self.connection.transport is not None and self.connection.transport.is_active()
            status = KILLED if alive else LOST
        channel.close()
        return Output(stdout=_text(bytes(out)), stderr=_text(b"".join(errors)), status=status)

    def _receive(self, channel: paramiko.Channel, lines: "_Lines") -> bytes:
        """The next bytes, b"" at the end.

        Raises Cancelled once `stop` is set, and after a long silence Truncated, or Unreachable where the script only
        reads.
        """
        began, told = time.monotonic(), False
        while True:
            self._check_stop(lines)
            try:
                return channel.recv(1 << 16)
            except TimeoutError:
                silent_s = time.monotonic() - began
            if lines.progress is not None:
                if silent_s > IDLE_TIMEOUT_S:
                    raise Truncated(f"{self.host.name}: silent for {IDLE_TIMEOUT_S:.0f} s in the middle of a script")
            elif silent_s > READ_TIMEOUT_S:
                raise self._silent()
            elif silent_s > SLOW_S and not told:
                told = True
                self._tell_slow()

    def _check_stop(self, lines: "_Lines") -> None:
        """Raises Cancelled once `stop` is set."""
        if not self.stop.is_set():
            return
        lines.stopping = lines.stopping or time.monotonic()
        if lines.seen or time.monotonic() - lines.stopping >= CANCEL_GRACE_S:
            raise Cancelled(f"{self.host.name}: stopped waiting; what runs there goes on, and the next run joins it")

    def _tell_slow(self) -> None:
        if self.say:
            self.say(self.host.name, f"no answer for {SLOW_S:.0f} s; it is given up after {READ_TIMEOUT_S:.0f} s")

    def _silent(self) -> Unreachable:
        it = self.host
        where = f"{it.user}@{it.address}" + (f" -p {it.port}" if it.port != 22 else "")
        return Unreachable(
            f"{it.name}: no answer for {READ_TIMEOUT_S:.0f} s although it is connected; it, its storage or its SLURM "
            f"may hang: look with `ssh {where}`, then run the same command again"
        )


class _Lines:
    """Passes complete lines that start with the progress byte on, as they come."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.rest = b""
        self.seen = False
        """Whether any has come."""
        self.stopping = 0.0
        """Since when its reader is to stop."""

    def feed(self, chunk: bytes) -> None:
        if self.progress is None:
            return
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(PROGRESS.encode()):
                self.seen = True
                self.progress(line[1:].decode("utf-8", "replace"))


def _drain(channel: paramiko.Channel, into: list[bytes]) -> None:
    while True:
        try:
            chunk = channel.recv_stderr(1 << 16)
        except TimeoutError:
            if channel.closed:
                return
            continue
        except (OSError, EOFError):
            return
        if not chunk:
            return
        if sum(map(len, into)) < MAX_OUTPUT_BYTES:
            into.append(chunk)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _check_identity(fleet: Fleet) -> None:
    """Raises InputError where the private key that the fleet names can't be read."""
    path = _expanded(fleet.identity) if fleet.identity else None
    if path is None or (path.is_file() and os.access(path, os.R_OK)):
        return
    found = "a file that this user can't read" if path.is_file() else f"no file {fleet.identity}"
    raise InputError(
        [
            Problem(
                where=f"identity of hosts/inventory/{fleet.name}.yaml",
                found=f"{found}: {fleet.identity}" if path.is_file() else found,
                wanted="a private key that this user can read",
                fix="run: invoke lab.up"
                if fleet.stand_in
                else "correct its path, or leave `identity` out to use your agent",
            )
        ]
    )


def _connection(fleet: Fleet, host: Host) -> Connection:
    """An open connection. Raises Unreachable or WrongHostKey, each saying what to do."""
    where = f"{host.name} ({host.user}@{host.address}:{host.port})"
    jump = fleet.host(host.jump) if host.jump else None
    gateway = _unopened(fleet, jump, None) if jump else None
    connection = _unopened(fleet, host, gateway)
    first, its_host = (gateway, jump) if gateway and jump else (connection, host)
    started = time.monotonic()
    try:
        first.connect_kwargs["sock"] = _prompt_socket(its_host)
        connection.open()
    except paramiko.BadHostKeyException as error:
        raise WrongHostKey(
            f"{where}: shows the host key {_fingerprint(error.key)}, "
            f"but the fleet pins {_fingerprint(error.expected_key)}; "
            f"if the machine was installed anew, check it and run: invoke enroll --fleet {fleet.name} {host.address}"
        ) from error
    except paramiko.AuthenticationException as error:
        raise Unreachable(
            f"{where}: authentication failed: {error}; is the key in your agent, or `identity` in the fleet file right?"
        ) from error
    except paramiko.SSHException as error:
        if "not found in known_hosts" in str(error):
            raise WrongHostKey(
                f"{where}: no host key is pinned for it; run: invoke enroll --fleet {fleet.name} {host.address}"
                + (" (the lab: invoke lab.up)" if fleet.name == "lab" else "")
            ) from error
        if "No authentication methods" in str(error):
            raise Unreachable(
                f"{where}: no SSH key to log in with, neither of an agent nor in ~/.ssh; add it to your agent, "
                "or name its file: `identity` in the fleet file, --identity of `invoke enroll`"
            ) from error
        if "protocol banner" in str(error):
            error = paramiko.SSHException(
                f"something accepts connections, but closed or was silent for {CONNECT_TIMEOUT_S:.0f} s: no SSH server"
            )
        raise Unreachable(f"{where}: {error}") from error
    except (OSError, EOFError) as error:
        waited = time.monotonic() - started
        reason = (
            f"no answer within {waited:.0f} s"
            if isinstance(error, TimeoutError | socket.timeout)
            else (getattr(error, "strerror", None) or str(error) or type(error).__name__)
        )
        raise Unreachable(f"{where}: {reason}; is it up, and is this the right address?") from error
    assert connection.transport is not None
    connection.transport.set_keepalive(KEEPALIVE_S)
    return connection


def _prompt_socket(host: Host) -> socket.socket:
    """A TCP connection without Nagle's algorithm: with it a script's last packet waits for an acknowledgement that the
    other side holds back for 40 ms, on every trip. Raises OSError."""
    sock = socket.create_connection((host.address, host.port), CONNECT_TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def fetch_host_key(fleet: Fleet, name: str) -> HostKey:
    """The key that a host shows, through its jump host if it has one, before anyone logs in. Raises Unreachable.

    A host is asked for a key of the kind that is pinned for it, else for Ed25519 first: a machine has several.
    """
    host = fleet.host(name)
    where = f"{name} ({host.address}:{host.port})" if name != host.address else f"{name}:{host.port}"
    pinned = [key for _, key in pinned_keys(fleet, host, _known_hosts_name(host))]
    gateway = _connection(fleet, fleet.host(host.jump)) if host.jump else None
    try:
        shown = _shown_key(host, gateway, [key.get_name() for key in pinned])
    except (paramiko.SSHException, OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Unreachable(f"{where}: no host key: {reason}; is it up, and does an SSH server listen there?") from error
    finally:
        if gateway is not None:
            gateway.close()
    known = next((key for key in pinned if key == shown), pinned[0] if pinned else None)
    return HostKey(
        pin=f"{shown.get_name()} {shown.get_base64()}",
        fingerprint=_fingerprint(shown),
        pinned=f"{known.get_name()} {known.get_base64()}" if known else "",
        pinned_fingerprint=_fingerprint(known) if known else "",
    )


def _shown_key(host: Host, gateway: Connection | None, pinned: list[str]) -> paramiko.PKey:
    """The host key of one key exchange. Raises what sockets and paramiko raise."""
    there = (host.address, host.port)
    sock: socket.socket | paramiko.Channel
    if gateway is None:
        sock = socket.create_connection(there, CONNECT_TIMEOUT_S)
    else:
        assert gateway.transport is not None
        sock = gateway.transport.open_channel("direct-tcpip", there, ("", 0), timeout=CONNECT_TIMEOUT_S)
    transport = None
    try:
        transport = paramiko.Transport(sock)
        transport.banner_timeout = CONNECT_TIMEOUT_S
        options = transport.get_security_options()
        # an RSA key is named ssh-rsa, and its signatures rsa-sha2-512 and so on
        wanted = {kind.replace("ssh-rsa", "rsa-") for kind in pinned} or {"ssh-ed25519"}
        first = [kind for kind in options.key_types if kind.startswith(tuple(wanted))]
        options.key_types = [*first, *(kind for kind in options.key_types if kind not in first)]
        transport.start_client(timeout=2 * CONNECT_TIMEOUT_S)
        return transport.get_remote_server_key()
    finally:
        if transport is not None:
            transport.close()
        sock.close()


def _known_hosts_name(host: Host) -> str:
    return host.address if host.port == 22 else f"[{host.address}]:{host.port}"


def _unopened(fleet: Fleet, host: Host, gateway: Connection | None) -> Connection:
    identity = fleet.identity and str(_expanded(fleet.identity))
    connection = Connection(
        host.address,
        user=host.user,
        port=host.port,
        gateway=gateway,
        config=Config(lazy=True),
        connect_timeout=int(CONNECT_TIMEOUT_S),
        connect_kwargs={
            **({"key_filename": [identity]} if identity else {}),
            "banner_timeout": CONNECT_TIMEOUT_S,
            "auth_timeout": 2 * CONNECT_TIMEOUT_S,
            "look_for_keys": not identity,
        },
    )
    client = connection.client
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    keys = client.get_host_keys()
    name = _known_hosts_name(host)
    for algorithm, key in pinned_keys(fleet, host, name):
        keys.add(name, algorithm, key)
    return connection


def pinned_keys(fleet: Fleet, host: Host, name: str) -> list[tuple[str, paramiko.PKey]]:
    """The host keys that the fleet file pins for a host, or its known_hosts file for `name`."""
    if host.host_key:
        algorithm, _, encoded = host.host_key.partition(" ")
        return [(algorithm, paramiko.PKey.from_type_string(algorithm, base64.b64decode(encoded.split()[0])))]
    path = _expanded(fleet.known_hosts) if fleet.known_hosts else None
    if path is None or not path.is_file():
        return []
    found = paramiko.HostKeys(str(path)).lookup(name)
    return list(found.items()) if found else []


def _expanded(path: str) -> Path:
    """The path with `~` as a home folder; the `~name` of nobody stays, and is found missing where it is opened."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _fingerprint(key: paramiko.PKey) -> str:
    return str(key.fingerprint)
