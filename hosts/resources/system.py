"""Users, Debian packages, systemd units, kernel settings, and requirements that nothing of ours can repair."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from hosts.errors import Unknown
from hosts.resources.files import OWNED
from hosts.shell import PROGRESS, quote
from hosts.state import Base
from hosts.text import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Base):
    """A system account with its own group; an existing account of another uid is refused, never renumbered."""

    kind: ClassVar[str] = "User"
    name: str
    uid: str
    home: str
    shell: str = "/usr/sbin/nologin"
    groups: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"user:{self.name}"

    def probe(self) -> str:
        name = quote(self.name)
        return (
            f"getent passwd -- {name} || {{ echo absent; getent passwd {quote(self.uid)} || true; exit 0; }}\n"
            f"id -Gn -- {name}"
        )

    def parse(self, out: str) -> Self | None:
        lines = out.splitlines()
        if lines[:1] == ["absent"]:
            if len(lines) > 1 and lines[1].split(":")[0] != self.name:
                raise Unknown(
                    f"uid {self.uid} is taken by {lines[1].split(':')[0]}; "
                    "the same uid is needed on all hosts, free it there"
                )
            return None
        fields = lines[0].split(":") if lines else []
        if len(fields) != 7 or len(lines) != 2:
            raise Unknown(f"its probe printed {out[:200]!r}")
        if fields[2] != self.uid:
            raise Unknown(
                f"the account {self.name} exists with uid {fields[2]}, wanted {self.uid} as on the other hosts; "
                "files would change hands if it were renumbered"
            )
        have = set(lines[1].split())
        return replace(self, home=fields[5], shell=fields[6], groups=tuple(g for g in self.groups if g in have))

    def steps(self, actual: Self | None) -> Iterator[str]:
        name, groups = quote(self.name), quote(",".join(self.groups))
        if actual is None:
            yield f"getent group {name} >/dev/null || groupadd --system --gid {quote(self.uid)} -- {name}"
            yield (
                f"useradd --system --uid {quote(self.uid)} --gid {name} --home-dir {quote(self.home)} --no-create-home "
                f"--shell {quote(self.shell)} -- {name}"
            )
        else:
            yield f"usermod --home {quote(self.home)} --shell {quote(self.shell)} -- {name}"
        if self.groups:
            yield f"usermod --append --groups {groups} -- {name}"

    def remove(self) -> Iterator[str]:
        name = quote(self.name)
        yield f"! getent passwd {name} >/dev/null || userdel -- {name}"
        yield f"! getent group {name} >/dev/null || groupdel -- {name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package(Base):
    """Debian packages that must be installed, in one transaction; only those that we installed are ever removed."""

    kind: ClassVar[str] = "Package"
    names: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"package:{'+'.join(self.names)}"

    def probe(self) -> str:
        names = " ".join(map(quote, self.names))
        return (
            "command -v dpkg-query >/dev/null || { echo no-dpkg; exit 0; }\n"
            f"dpkg-query -W -f '${{Package}} ${{db:Status-Status}}\\n' -- {names} 2>/dev/null || true"
        )

    def parse(self, out: str) -> Self | None:
        if out.startswith("no-dpkg"):
            raise Unknown(
                "this is no Debian or Ubuntu (no dpkg); supported: Debian 12, Ubuntu 22.04 and 24.04, DGX OS 6 and 7"
            )
        installed = {words[0] for line in out.splitlines() if (words := line.split())[1:] == ["installed"]}
        names = tuple(name for name in self.names if name in installed)
        return replace(self, names=names) if names else None

    def steps(self, actual: Self | None) -> Iterator[str]:
        missing = [name for name in self.names if actual is None or name not in actual.names]
        names = " ".join(map(quote, missing))
        apt = (
            "DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold"
        )
        yield f"mkdir -p {OWNED}/packages; cd {OWNED}/packages; touch -- {names}"
        yield "DEBIAN_FRONTEND=noninteractive dpkg --configure -a"
        yield (
            f"printf '{PROGRESS}installing %s\\n' {quote(' '.join(missing))}\n"
            f"{apt} install --no-install-recommends -- {names} || "
            f"{{ {apt} update; {apt} install --no-install-recommends -- {names}; }}"
        )

    def remove(self) -> Iterator[str]:
        names = " ".join(map(quote, self.names))
        yield (
            f"mkdir -p {OWNED}/packages; cd {OWNED}/packages; ours=()\n"
            f'for n in {names}; do if [ -e "$n" ]; then ours+=("$n"); fi; done\n'
            "if [ ${#ours[@]} -gt 0 ]; then "
            # munge's purge fails on an account outside of Debian's system range, after the package itself has gone
            "apt='apt-get -q -y -o DPkg::Lock::Timeout=120'; export DEBIAN_FRONTEND=noninteractive; "
            '$apt purge -- "${ours[@]}" || $apt remove -- "${ours[@]}"; '
            'rm -f -- "${ours[@]}"; fi'
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit(Base):
    """A systemd unit that is enabled and running with this fingerprint (sha256 of what its configuration renders to).

    The fingerprint is an environment variable of the unit's main process, so a process started with older
    configuration differs from the wanted one whatever happened in between. `reads` goes further where the files are
    known: `SHA256  PATH` of each as it was at the process's start, so that a daemon that was restarted on a file edited
    by hand differs too, even after that file was put right. `before` is shell that runs while the unit is stopped for a
    restart, `after` once it runs again; a failure of either is the step's. `log` is the file that its process writes
    to, where that is not the journal.
    """

    kind: ClassVar[str] = "Unit"
    name: str
    fingerprint: str
    reads: tuple[str, ...] = ()
    before: str = ""
    after: str = ""
    log: str = ""
    enabled: bool = True
    active: bool = True

    @property
    def key(self) -> str:
        return f"unit:{self.name}"

    @property
    def drop_in(self) -> str:
        """The file that carries the fingerprint."""
        return f"/etc/systemd/system/{self.name}.d/50-slipway.conf"

    @property
    def started_with(self) -> str:
        """The file with the sums of `reads` as the unit found them when it started."""
        return f"/run/slipway/{self.name}.reads"

    def _drop_in_text(self) -> str:
        text = f"[Service]\nEnvironment=SLIPWAY_FINGERPRINT={self.fingerprint}\n"
        if self.reads:
            paths = " ".join(quote(line.split("  ", 1)[1]) for line in self.reads)
            note = f'mkdir -p -m 0700 /run/slipway && sha256sum -- "$$@" >{self.started_with}'
            text += f"ExecStartPre=+/bin/sh -c '{note}' sh {paths}\n"
        return text

    def probe(self) -> str:
        name = quote(self.name)
        return (
            f"state=$(systemctl show -p LoadState,ActiveState,UnitFileState,NeedDaemonReload,MainPID -- {name}) || "
            "{ echo no-systemd; exit 0; }\n"
            "grep -v '^MainPID=' <<<\"$state\"\n"
            'pid=${state#*MainPID=}; pid=${pid%%[!0-9]*}; if [ "${pid:-0}" != 0 ]; then '
            "tr '\\0' '\\n' <\"/proc/$pid/environ\" 2>/dev/null | grep -m 1 '^SLIPWAY_FINGERPRINT='; "
            f"else systemctl show -p Environment --value -- {name} | tr ' ' '\\n' | "
            "grep -m 1 '^SLIPWAY_FINGERPRINT='; fi\n"
            f"[ ! -e {quote(self.drop_in)} ] || echo drop-in\n"
            f"[ ! -e {quote(self.started_with)} ] || sed 's/^/read /' {quote(self.started_with)}"
        )

    def parse(self, out: str) -> Self | None:
        lines = out.splitlines()
        if not lines or "no-systemd" in lines:
            raise Unknown("systemd does not answer on this host")
        state = dict(line.split("=", 1) for line in lines if "=" in line)
        active = state.get("ActiveState") in ("active", "reloading")
        enabled = state.get("UnitFileState") in (
            "enabled",
            "enabled-runtime",
            "static",
            "alias",
            "generated",
            "indirect",
        )
        if state.get("LoadState") == "masked":
            raise Unknown(
                f"{self.name} is masked on this host; somebody does not want it to run (systemctl unmask {self.name})"
            )
        if "drop-in" not in lines and (state.get("LoadState") == "not-found" or not (active or enabled)):
            return None
        return replace(
            self,
            active=active,
            enabled=enabled,
            fingerprint=state.get("SLIPWAY_FINGERPRINT", "") if active else self.fingerprint,
            reads=tuple(line[len("read ") :] for line in lines if line.startswith("read ")) if active else self.reads,
        )

    def steps(self, actual: Self | None) -> Iterator[str]:  # noqa: ARG002
        name, drop_in = quote(self.name), quote(self.drop_in)
        yield f"mkdir -p {quote(self.drop_in.rpartition('/')[0])}; printf '%s' {quote(self._drop_in_text())} >{drop_in}"
        yield "systemctl daemon-reload"
        yield f"systemctl {'enable' if self.enabled else 'disable'} --quiet -- {name}"
        if not self.active:
            yield f"systemctl stop -- {name}"
            return
        yield f"systemctl reset-failed -- {name} 2>/dev/null || true"
        if self.before:
            yield f"systemctl stop -- {name}"
            yield self.before
        said = f"tail -n 12 -- {quote(self.log)}" if self.log else f"systemctl status --no-pager -n 12 -- {name}"
        yield (
            f"systemctl restart -- {name} || {{ journalctl -q -n 12 --no-pager -o cat -u {name}; exit 1; }}\n"
            # a daemon that forks and dies a moment later is the usual way in which a bad configuration shows
            f"for _ in 1 2 3 4 5 6; do sleep 0.25; systemctl is-active --quiet -- {name} || {{ {said}; exit 1; }}; done"
        )
        if self.after:
            yield self.after

    def remove(self) -> Iterator[str]:
        name = quote(self.name)
        yield f"systemctl disable --quiet --now -- {name} 2>/dev/null || ! systemctl is-active --quiet -- {name}"
        yield (
            f"rm -f {quote(self.drop_in)} {quote(self.started_with)}; "
            f"rmdir --ignore-fail-on-non-empty {quote(self.drop_in.rpartition('/')[0])} 2>/dev/null || true"
        )
        yield "systemctl daemon-reload"
        yield f"systemctl reset-failed -- {name} 2>/dev/null || true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl(Base):
    """A kernel setting, now and after a reboot; removing it puts back the value that was there before."""

    kind: ClassVar[str] = "Sysctl"
    name: str
    value: str

    @property
    def key(self) -> str:
        return f"sysctl:{self.name}"

    @property
    def file(self) -> str:
        """The file that keeps it over a reboot."""
        return f"/etc/sysctl.d/90-slipway-{self.name.replace('/', '.')}.conf"

    def probe(self) -> str:
        return (
            f"v=$(sysctl -n -- {quote(self.name)} 2>/dev/null) && printf '=%s\\n' \"$v\" | tr '\\t' ' ' || true; "
            "echo --\n"
            f"if [ -e {quote(self.file)} ]; then cat -- {quote(self.file)}; fi"
        )

    def parse(self, out: str) -> Self | None:
        running, _, kept = out.partition("--\n")
        if not running.startswith("="):
            raise Unknown(f"this kernel has no setting {self.name}")
        running = running[1:]
        if not kept:
            return None
        lines = [line for line in kept.splitlines() if not line.startswith("#")]
        if lines != [f"{self.name} = {self.value}"]:
            return replace(self, value=f"{running.strip()} (kept: {'; '.join(lines)})")
        return replace(self, value=" ".join(running.split()))

    def steps(self, actual: Self | None) -> Iterator[str]:  # noqa: ARG002
        file, name = quote(self.file), quote(self.name)
        yield (
            f"was=$( [ ! -e {file} ] || sed -n 's/^# before: //p' {file} ); "
            f"[ -n \"$was\" ] || was=$(sysctl -n -- {name} | tr '\\t' ' ')\n"
            f"printf '# before: %s\\n%s\\n' \"$was\" {quote(f'{self.name} = {self.value}')} >{file}"
        )
        yield f"sysctl -q -w -- {quote(f'{self.name}={self.value}')}"

    def remove(self) -> Iterator[str]:
        file = quote(self.file)
        yield (
            f"[ -e {file} ] || exit 0; was=$(sed -n 's/^# before: //p' {file}); rm -f {file}\n"
            f'[ -z "$was" ] || sysctl -q -w -- {quote(self.name)}="$was" || true'
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement(Base):
    """Something that must hold and that we can't repair: `check` prints `ok`, or one line of what was found instead."""

    kind: ClassVar[str] = "Requirement"
    removable: ClassVar[bool] = False
    name: str
    check: str
    wanted: str
    fix: str
    found: str = ""

    @property
    def key(self) -> str:
        return f"requirement:{self.name}"

    def probe(self) -> str:
        return self.check

    def parse(self, out: str) -> Self | None:
        text = printable(" ".join(out.split()), keep="")[:400]  # titles of processes and names of jobs may be in it
        return replace(self, found="" if text == "ok" else text or "no answer from its check")

    def steps(self, actual: Self | None) -> Iterator[str]:  # noqa: ARG002
        return iter(())

    def remove(self) -> Iterator[str]:
        return iter(())
