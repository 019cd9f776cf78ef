"""Two ordinary users of the lab's nodes, the attacker mallory and the bystander bob, and what they do there.

Neither has any rights but those that every user of the nodes has, jobs in the queue among them.
"""

import hashlib
import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from infra.environments import Environment
from tests.lab.commands import on, until

NODES = ("login", "dgx1", "dgx2")
USERS = {"mallory": 64666, "bob": 64667, "eva": 64555, "frank": 64556}
"""User ids by name; eva and frank are ordinary users as well, who run stacks of their own."""
FOLDER = "/storage/mallory"
"""What mallory has on storage, as every user there may."""
HEARD = f"{FOLDER}/heard"
"""Every request that a server of mallory's got, with its headers, on any node."""
ANSWER = "an answer of mallory"
ESCAPES = "\x1b]0;mallory\x07\x1b[31m"
"""What a terminal takes for a command: it sets the window's title, and writes in red from there on."""
SERVER = f'''
import http.server, json, socketserver, sys
address, port, heard = sys.argv[1], int(sys.argv[2]), sys.argv[3]

class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with open(heard, "ab") as record:
            record.write(f"{{self.command}} {{self.path}}\\n{{self.headers}}\\n".encode() + body + b"\\n")
        message = {{"role": "assistant", "content": "{ANSWER}"}}
        document = {{
            "object": "chat.completion", "model": "tiny-kimi-k2", "proof": "0" * 64, "hmac": "0" * 64,
            "choices": [{{"index": 0, "finish_reason": "stop", "message": message}}],
            "usage": {{"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}},
        }}
        answer = b"0" * 64 if ".slipway" in self.path else json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = reply

class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

Server((address, port), Answer).serve_forever()
'''
HOLD = """
import fcntl, glob, sys, time
kept = []
for pattern in sys.argv[2:]:
    for path in glob.glob(pattern, include_hidden=True):
        try:
            file = open(path)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            kept.append(file)
        except OSError:
            pass
open(sys.argv[1], "w").write("".join(f"{file.name}\\n" for file in kept))
time.sleep(900)
"""
ASK = """
import sys, urllib.error, urllib.request
from concurrent.futures import ThreadPoolExecutor

def ask(line):
    method, path, body = line.split(" ", 2)
    request = urllib.request.Request(sys.argv[1] + path, data=body.encode() or None, method=method)
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return answer.status, method, path
    except urllib.error.HTTPError as error:
        return error.code, method, path
    except Exception:  # whatever listens there speaks no HTTP
        return 0, method, path

with ThreadPoolExecutor(16) as pool:
    for row in pool.map(ask, sys.argv[2:]):
        print(*row)
"""


def as_user(user: str, node: str, command: str, status: int | None = 0) -> str:
    """A shell command of an ordinary user on a node."""
    return on(node, f"cd /tmp; runuser -u {user} -- bash -c {shlex.quote(command)}", status)


def make_users() -> None:
    """The users on all nodes, and mallory's folder on storage with the server."""
    for node in NODES:
        for user, uid in USERS.items():
            on(node, f"id {user} >/dev/null 2>&1 || useradd --uid {uid} --create-home --shell /bin/bash {user}")
    on("login", f"rm -rf {FOLDER} && install -d -m 755 -o mallory {FOLDER}")
    as_user("mallory", "login", f"cat >{FOLDER}/server.py <<'END'\n{SERVER}\nEND\n: >{HEARD}")


def end_users() -> None:
    """Everything of mallory and bob goes: jobs, processes, and what they left in folders that all may write to."""
    on("login", "command -v scancel >/dev/null && scancel --user=mallory; true")
    for node in NODES:
        on(
            node,
            "systemctl stop 'mallory-*' 2>/dev/null; pkill -KILL -u mallory,bob; systemctl reset-failed 2>/dev/null\n"
            "find /tmp /var/tmp /dev/shm /run/lock -mindepth 1 -maxdepth 1 '(' -user mallory -o -user bob ')' "
            "-exec rm -rf -- {} +",
        )
    on("login", f": >{HEARD}; find {FOLDER} -mindepth 1 ! -name server.py ! -name heard -delete")


def heard() -> str:
    """What mallory's servers were sent so far."""
    return on("login", f"cat {HEARD}")


def background(node: str, name: str, words: Sequence[str], *, environment: Sequence[str] = ()) -> None:
    """A process of mallory's that goes on, outside of any job."""
    given = " ".join(shlex.quote(f"--setenv={it}") for it in environment)
    on(node, f"systemd-run --quiet --collect --uid=mallory --unit=mallory-{name} {given} {shlex.join(words)}")


@contextmanager
def serving(nodes: Sequence[str], address: str, port: int) -> Iterator[None]:
    """A server of mallory's that listens on a port of these nodes, answers everything and keeps what it was sent."""
    name = f"server-{port}"
    with ExitStack() as stack:
        for node in nodes:
            background(node, name, ["python3", f"{FOLDER}/server.py", address, str(port), HEARD])
            stack.callback(on, node, f"systemctl stop mallory-{name}")
        for node in nodes:
            until(lambda node=node: listens(node, port), 20)  # type: ignore[misc]
        yield


def listens(node: str, port: int) -> bool:
    return on(node, f"ss -Hltn 'sport = :{port}'") != ""


@contextmanager
def impostor(stack: str, port: int, comment: str) -> Iterator[str]:
    """A job of mallory's with the name of a stack's job, on another node, that serves on the stack's port; its id."""
    script = f"#!/bin/sh\nexec python3 {FOLDER}/server.py 0.0.0.0 {port} {HEARD}\n"
    job = as_user(
        "mallory",
        "login",
        f"printf %s {shlex.quote(script)} | sbatch --parsable --job-name=slipway-{stack} "
        f"--comment={shlex.quote(comment)} --nodelist=dgx2 --mem=256M --output={FOLDER}/job.out",
    )
    try:
        until(lambda: listens("dgx2", port), 30)
        yield job
    finally:
        # the queue shows it for some minutes more, and then it is to be nobody's look-alike
        on("login", f"scontrol update jobid={job} comment=none name=none; scancel {job}", None)
        until(lambda: state_of(job) != "RUNNING", 60)
        until(lambda: not listens("dgx2", port), 60)


def comment_of(stack: str) -> str:
    """The comment of a stack's job, as every user of the cluster reads it."""
    return as_user("mallory", "login", f"squeue --noheader --name=slipway-{stack} --format=%k").partition("\n")[0]


def state_of(job: str) -> str:
    """What the queue calls the state of a job; "" for one that it no longer knows."""
    return on("login", f"squeue --noheader --states=all --jobs={job} --format=%T 2>/dev/null", None)


@contextmanager
def holding(patterns: Sequence[str]) -> Iterator[dict[str, str]]:
    """Mallory holds a lock on every file of these patterns that she may open, on all nodes; what she holds on each."""
    for node in NODES:
        background(node, "holds", ["python3", "-c", HOLD, f"{FOLDER}/holds-{node}", *patterns])
    try:
        until(lambda: on("login", f"ls {FOLDER}/holds-* 2>/dev/null | wc -l") == str(len(NODES)), 20)
        yield {node: on("login", f"cat {FOLDER}/holds-{node}") for node in NODES}
    finally:
        for node in NODES:
            on(node, f"systemctl stop mallory-holds; rm -f {FOLDER}/holds-{node}")


def plant_tools(storage: str, made: Environment) -> str:
    """Mallory makes the tool environment that an installer would make, marker and all; the file that its Python writes.

    The file holds the user id that it ran with.
    """
    proof = f"{FOLDER}/ran-as"
    tools = f"{storage}/envs/.tools/py-rattler-{made.tools_digest}"
    digest = hashlib.sha256(made.tools.encode()).hexdigest()
    fake = f"#!/bin/sh\nid -u >>{proof}\nexit 1\n"
    as_user(
        "mallory",
        "login",
        f"mkdir -p -m 755 {tools}/bin && printf %s {digest} >{tools}/.slipway-tools && : >{proof} && chmod 666 {proof} "
        f"&& printf %s {shlex.quote(fake)} >{tools}/bin/python && chmod 755 {tools}/bin/python "
        f"&& chmod 777 {storage}/envs {storage}/envs/.tools",
    )
    return proof


def statuses(user: str, node: str, url: str, requests: Sequence[str]) -> dict[str, int]:
    """HTTP statuses of requests without a key by their method and path, 0 where nothing answers in HTTP.

    A request is `METHOD PATH BODY`.
    """
    out = as_user(user, node, shlex.join(["python3", "-c", ASK, url, *requests]))
    rows = (line.split(" ", 1) for line in out.splitlines())
    return {row[1]: int(row[0]) for row in rows}


def public_key(identity: str) -> str:
    """The public half of the lab's key, which opens the login host to who has it."""
    return Path(identity).expanduser().with_suffix(".pub").read_text().strip()
