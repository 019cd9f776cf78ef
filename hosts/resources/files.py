"""Files, secret files and directories: content, mode, owner and group; written beside and renamed, never in place."""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from hosts import trust
from hosts.errors import Unknown
from hosts.shell import quote, secret_variable
from hosts.state import Base

OWNED = "/var/lib/slipway/owned"
"""One marker a path that we made although somebody else could have: what exists without it is somebody else's."""
MAX_CONTENT_BYTES = 1 << 20


def owned_marker(path: str) -> str:
    """Where the marker of a guarded path lies on its host."""
    return f"{OWNED}/{hashlib.sha256(path.encode()).hexdigest()[:16]}"


def _guard_steps(path: str) -> Iterator[str]:
    yield f"mkdir -p {OWNED}"
    yield f"printf '%s\\n' {quote(path)} >{owned_marker(path)}"


def _stat(path: str, owner: str, guarded: bool) -> str:
    """Shell that prints `type mode user group [foreign] [others]` and goes on if `$kind` is file, of `$size` bytes.

    It prints why instead where the folder can't be trusted; `others` is what belongs neither to us nor to `owner`.
    """
    mark = f'[ -e {owned_marker(path)} ] || marks=" foreign"' if guarded else ":"
    return (
        f"{trust.probed(_folder(path), owner=owner)}\n"
        f"p={quote(path)}; marks=; {mark}\n"
        'if [ -L "$p" ]; then kind=link; elif [ -f "$p" ]; then kind=file; elif [ -d "$p" ]; then kind=directory; '
        'elif [ -e "$p" ]; then kind=special; '
        'elif (cd / && d=$(dirname -- "$p"; printf x); d=${d%?x}; [ -d "$d" ] && [ ! -x "$d" ]); then kind=hidden; '
        "else kind=absent; fi\n"
        "if [ $kind = absent ] || [ $kind = hidden ]; then echo $kind; "
        'else s=$(stat -c "%u %s %a %U %G" -- "$p"); '
        f'trust_ours "${{s%% *}}" {quote(owner) if owner else ""} || marks="$marks others"; '
        's=${s#* }; size=${s%% *}; printf "%s %s%s\\n" $kind "${s#* }" "$marks"; fi\n'
    )


def _folder(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _parse_stat(path: str, out: str) -> tuple[str, str, str, str, bool] | None:
    """(kind, mode with four digits, user, group, whether it is another user's); None where it is absent.

    Raises Unknown for what must not be touched.
    """
    trust.refuse(out)
    words = out.partition("\n")[0].split()
    if words == ["absent"]:
        return None
    if words == ["hidden"]:
        raise Unknown(f"the folder of {path} is closed to this user; give the fleet's user sudo, or move the path")
    if len(words) < 4 or words[0] not in ("file", "directory", "link", "special"):
        raise Unknown(f"its probe printed {out[:200]!r}")
    if "foreign" in words[4:]:
        raise Unknown(
            f"{path} exists and was not written by Slipway; it is somebody else's "
            "(set `slurm: existing` in the fleet file to use that cluster as it is, or move the file away)"
        )
    return words[0], words[1].zfill(4), words[2], words[3], words[-1] == "others"


def _refuse_others(path: str, mode: str, user: str, wanted: str) -> None:
    raise Unknown(
        f"{path} is owned by {user} (mode {mode}), wanted {wanted or 'root or ourselves'}; "
        "remove it, or choose another path (storage.path in the fleet file)"
    )


def _put(path: str, produce: str, mode: str, owner: str, group: str) -> Iterator[str]:
    """Steps that write a file beside the path and rename it over; `produce` is shell that prints its bytes.

    They work in the folder itself, so that it is one folder from the check to the rename, and as its owner, so that no
    link there leads root elsewhere.
    """
    folder, _, name = path.rpartition("/")
    old, new = quote(f"./{name}"), quote(f"./{name}.slipway-new")
    yield f"{trust.trusted(folder or '/', owner=owner)}\ncd -P -- {quote(folder or '/')}; trust_as ."
    yield f'"${{as[@]}}" rm -rf -- {new}'
    yield f"""{produce} | "${{as[@]}}" bash -c 'install -m 0600 -T -- /dev/null "$1" && cat >"$1"' - {new}"""
    yield f'"${{as[@]}}" chmod -- {quote(mode)} {new}'
    yield from _own(new, owner, group)
    yield f'"${{as[@]}}" mv -fT -- {new} {old}'


def _own(path: str, owner: str, group: str) -> Iterator[str]:
    """Steps that give it away, where it is not theirs already."""
    if owner or group:
        whose = ("%U" if owner else "") + (":%G" if group else "")
        wanted = quote(owner + (":" + group if group else ""))
        yield f'[ "$(stat -c {whose} -- {path})" = {wanted} ] || chown -h -- {wanted} {path}'


@dataclass(frozen=True, slots=True, kw_only=True)
class File(Base):
    """A text file; `owner` "" is root or ourselves, `group` "" any, `guard` refuses one that we did not write."""

    kind: ClassVar[str] = "File"
    path: str
    content: str
    mode: str = "0644"
    owner: str = ""
    group: str = ""
    guard: bool = False

    @property
    def key(self) -> str:
        return f"file:{self.path}"

    def probe(self) -> str:
        same = hashlib.sha256(_bytes(self.content)).hexdigest()
        return (
            _stat(self.path, self.owner, self.guard)
            + f'[ $kind = file ] || exit 0\nif [ ! -r "$p" ]; then echo unreadable; exit 0; fi\n'
            f'if [ "$size" -gt {MAX_CONTENT_BYTES} ]; then echo large; exit 0; fi\n'
            f's=$(sha256sum <"$p"); if [ "${{s%% *}}" = {same} ]; then echo same; else echo other; base64 -w0 <"$p"; fi'
        )

    def parse(self, out: str) -> Self | None:
        stat = _parse_stat(self.path, out)
        if stat is None:
            return None
        kind, mode, owner, group, others = stat
        if kind == "directory":
            raise Unknown(f"{self.path} is a directory, and a file is wanted there; move it away")
        body = out.partition("\n")[2]
        word, _, encoded = body.partition("\n")
        if kind != "file":
            content = f"(a {kind})"
        elif word == "same":
            content = self.content
        elif word == "other":
            content = base64.b64decode(encoded).decode("utf-8", "surrogateescape")
        elif word == "large":
            content = f"(more than {MAX_CONTENT_BYTES} bytes)"
        else:
            raise Unknown(f"{self.path} can't be read by this user")
        shown = owner if self.owner or others else ""
        return replace(self, content=content, mode=mode, owner=shown, group=self.group and group)

    def steps(self, actual: Self | None) -> Iterator[str]:  # noqa: ARG002
        if self.guard:
            yield from _guard_steps(self.path)
        encoded = base64.b64encode(_bytes(self.content)).decode()
        yield from _put(self.path, f"base64 -d <<<{quote(encoded)}", self.mode, self.owner, self.group)

    def remove(self) -> Iterator[str]:
        yield f"rm -f -- {quote(self.path)} {quote(self.path + '.slipway-new')}"
        if self.guard:
            yield f"rm -f {owned_marker(self.path)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFile(Base):
    """A file whose content is a secret: `digest` is the sha256 of its bytes, the value comes at the last moment.

    With `digest` "" the host makes its own value of 32 random bytes in hex, once, and it never travels. With `held` a
    value that is there already is never replaced by another: it is the one that everybody else goes by.
    """

    kind: ClassVar[str] = "SecretFile"
    path: str
    secret: str
    digest: str = ""
    mode: str = "0600"
    owner: str = ""
    group: str = ""
    guard: bool = False
    held: bool = False

    @property
    def key(self) -> str:
        return f"secret:{self.path}"

    def probe(self) -> str:
        return (
            _stat(self.path, self.owner, self.guard)
            + '[ $kind = file ] || exit 0\nif [ -r "$p" ]; then sha256sum <"$p"; else echo unreadable; fi'
        )

    def parse(self, out: str) -> Self | None:
        stat = _parse_stat(self.path, out)
        if stat is None:
            return None
        kind, mode, owner, group, others = stat
        if kind == "directory":
            raise Unknown(f"{self.path} is a directory, and a file is wanted there; move it away")
        body = out.partition("\n")[2].split()
        if others and kind == "file":
            _refuse_others(self.path, mode, owner, self.owner)  # who made it knows what is in it
        if kind == "file" and (not body or body[0] == "unreadable"):
            raise Unknown(f"{self.path} can't be read by this user")
        found = body[0] if kind == "file" else f"(a {kind})"
        empty = found == hashlib.sha256(b"").hexdigest()
        if self.held and kind == "file" and not empty and found != self.digest:
            raise Unknown(
                f"{self.path} holds another {self.secret} than the one here: another controller or user set this up; "
                f"put its value into slipway:secrets.{self.secret} (or SLIPWAY_SECRET_{_capitals(self.secret)}), or, "
                "where the value here is to be everybody's, remove that file there"
            )
        if not self.digest:
            found = "(empty)" if empty else ("" if kind == "file" else found)
        return replace(self, digest=found, mode=mode, owner=self.owner and owner, group=self.group and group)

    def steps(self, actual: Self | None) -> Iterator[str]:
        if self.guard:
            yield from _guard_steps(self.path)
        if self.digest:
            produce = f'base64 -d <<<"${{{secret_variable(self.secret)}:?no value for the secret {self.secret}}}"'
        elif actual is not None and actual.digest == "":
            produce = f'"${{as[@]}}" cat -- {quote("./" + self.path.rpartition("/")[2])}'
        else:
            produce = "od -An -N32 -tx1 /dev/urandom | tr -d ' \\n'"
        yield from _put(self.path, produce, self.mode, self.owner, self.group)

    def remove(self) -> Iterator[str]:
        yield f"rm -f -- {quote(self.path)} {quote(self.path + '.slipway-new')}"
        if self.guard:
            yield f"rm -f {owned_marker(self.path)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory(Base):
    """A folder, refused where it is another user's; removing it takes what is in it along only with `purge`."""

    kind: ClassVar[str] = "Directory"
    path: str
    mode: str = "0755"
    owner: str = ""
    group: str = ""
    purge: bool = False

    @property
    def key(self) -> str:
        return f"directory:{self.path}"

    def probe(self) -> str:
        return _stat(self.path, self.owner, guarded=False)

    def parse(self, out: str) -> Self | None:
        stat = _parse_stat(self.path, out)
        if stat is None:
            return None
        kind, mode, owner, group, others = stat
        if kind != "directory":
            raise Unknown(f"{self.path} is a {kind}, and a directory is wanted there; move it away")
        if others:
            _refuse_others(self.path, mode, owner, self.owner)
        return replace(self, mode=mode, owner=self.owner and owner, group=self.group and group)

    def steps(self, actual: Self | None) -> Iterator[str]:  # noqa: ARG002
        folder, _, name = self.path.rpartition("/")
        path, owner = quote(f"./{name}"), quote(self.owner) if self.owner else ""
        yield f"{trust.folder(folder or '/', self.owner)}\ncd -P -- {quote(folder or '/')}; trust_as ."
        yield f'[ -d {path} ] && [ ! -L {path} ] || "${{as[@]}}" mkdir -m 0700 -- {path}'
        yield (
            f'trust_ours "$(stat -c %u -- {path})" {owner} || '
            f"{{ echo {quote(self.path)} belongs to another user; exit 1; }}\ntrust_as {path}"
        )
        yield f'"${{as[@]}}" chmod -- {quote(self.mode)} {path}'
        yield from _own(path, self.owner, self.group)

    def remove(self) -> Iterator[str]:
        path = quote(self.path)
        if self.purge:
            yield f"rm -rf --one-file-system -- {path}"
        else:
            yield f"[ ! -d {path} ] || rmdir -- {path}"


def _capitals(name: str) -> str:
    return name.replace("-", "_").upper()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
