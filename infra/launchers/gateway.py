"""The gateway: nginx before an engine that asks for no key or speaks no TLS, as the service user, in one process.

Behind it the engine listens on loopback alone. Who may run programs on that node still reaches it there without a key.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

from hosts.problem import Problem
from hosts.shell import quote
from infra import paths
from infra.command import Command
from infra.deployment import Deployment, at
from roles import render

NAME, CONF = "gateway", "nginx.conf"
"""The name of its process, and its configuration in the job's folder."""
BODY_LIMIT = "64m"
"""Images come in a request's body, as base64."""
KEY_CHARACTERS = 512
"""nginx reads words of at most 4096 bytes, and each byte of the key is written as four."""


def conf(d: Deployment, servers: Sequence[str] = ()) -> str:
    """The text of its nginx.conf; the key is in a file that its process writes.

    `servers` are those of the engine, `ADDRESS:PORT`; () is the one on loopback.
    """
    address, port = d.answers
    return render(
        "gateway/nginx.conf.j2",
        stack=d.stack,
        engine=d.router.name if d.router else d.engine,
        temporary=temporary(d),
        listen=at(address, port),
        servers=tuple(servers) or (at(*d.listen),),
        certificate=d.endpoint.certificate,
        key=d.endpoint.key,
        guards=d.guards != "nothing",
        body_limit=BODY_LIMIT,
        unauthorized=_error(
            "wrong or no API key: send it as `Authorization: Bearer KEY`", "invalid_request_error", "invalid_api_key"
        ),
        absent=_error(f"{d.engine} does not answer: it is starting or has ended", "server_error", "engine_unavailable"),
        large=_error(f"the request has more than {BODY_LIMIT}B", "invalid_request_error", "request_too_large"),
        plain=_error("this endpoint speaks TLS: use https://", "invalid_request_error", "https_required"),
    )


def _error(message: str, kind: str, code: str) -> str:
    """An error in the form of OpenAI's API, which clients know how to show."""
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


def temporary(d: Deployment) -> str:
    """The private folder of its process, $TMPDIR there."""
    return f"{paths.temporary(d)}{NAME}"


def pinned(d: Deployment) -> str:
    """The file of the certificate that it shows, for those who ask it: they trust this one and no authority."""
    return f"{paths.job_folder(d)}/endpoint.pem"


def process(d: Deployment) -> tuple[Command, str]:
    """What it becomes, and the shell before that, which puts the key into its private folder, $TMPDIR."""
    conf_file = f"{paths.job_folder(d)}/{CONF}"
    argv = ("nginx", "-p", temporary(d), "-c", conf_file)
    return Command(argv=argv), "\n".join((*(_certificate(d) if d.endpoint.certificate else ()), *_key(d)))


def _key(d: Deployment) -> tuple[str, ...]:
    """Each byte as its number, so that no character means anything to nginx; the words are printf's, in no argv."""
    file = quote(paths.api_key(d))
    return (
        "PATH=$PATH:/usr/sbin",
        'command -v nginx >/dev/null || { echo "slipway: error: nginx is not installed on $(hostname)"; exit 1; }',
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
    """The engine's port behind a gateway must be nobody else's; `taken` says who has which on the head's host."""
    if d.gated and d.inner_port in taken:
        inner = f"{d.inner_port}, the port of {taken[d.inner_port]}"
        yield Problem(
            where="$.port",
            rule="endpoint",
            found=f"{d.port}, which puts the engine behind its gateway on {inner}",
            wanted="another port",
            why="both listen on the same node",
        )
