"""One case of the law for each kind of resource: what it needs first, and what a person's hand does to it."""

import hashlib
from dataclasses import dataclass

from hosts import fleet
from hosts.resources import (
    Block,
    Claim,
    CondaEnv,
    Directory,
    Endpoint,
    File,
    Package,
    Requirement,
    SecretFile,
    SlurmJob,
    SubordinateIds,
    Sysctl,
    Unit,
    User,
    Weights,
)
from hosts.resources.programs import program
from hosts.state import Resource
from infra import environments, model, paths
from infra.environments import Environment
from roles import containers
from roles.slurm import COMPLETIONS

LAB = fleet.load("lab")
NODE, STORAGE_HOST = "dgx2", LAB.login.name
USER = paths.service_user(LAB)
SECRET = b"s3cret \xff value"
STORAGE = f"{LAB.storage.path}/law"
"""What the cases put on storage, all of it."""
FOLDER = "/var/lib/slipway-law"
"""What the cases put on a node's own disk, where it may be anywhere."""
SERVICE = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A resource on a node: `needs` are converged before it, and go after it.

    `given` is shell that makes the state which neither of them makes, `drift` shell that does what somebody might do
    to the resource by hand; both run as root on the node, not over SSH.
    """

    resource: Resource
    drift: str
    node: str = NODE
    given: str = ":"
    needs: tuple[Resource, ...] = ()


def unit() -> Case:
    """A daemon that somebody stops."""
    name = "slipway-law.service"
    return Case(
        resource=Unit(name=name, fingerprint="aaaa"),
        needs=(File(path=f"/etc/systemd/system/{name}", content=SERVICE),),
        drift=f"systemctl stop {name}",
    )


def environment() -> Case:
    """The lab's Python and one wheel, of which somebody removes the wheel's record."""
    lab = environments.load("vllm-0.19.1-cpu")
    wheel = next(line for line in lab.requirements.splitlines() if line.startswith("typing-extensions=="))
    made = Environment(name="law", lock=lab.lock, requirements=f"{wheel}\n", tools=lab.tools)
    prefix = f"{STORAGE}/env-{made.digest}"
    inputs = f"{prefix}.inputs"
    texts = {
        "conda.lock": made.lock,
        "requirements.txt": made.requirements,
        "tools.txt": made.tools,
        "install_env.py": program("install_env"),
    }
    return Case(
        node=STORAGE_HOST,
        resource=CondaEnv(
            prefix=prefix,
            digest=made.digest,
            packages=made.packages,
            inputs=inputs,
            tools=f"{LAB.storage.path}/envs/.tools/py-rattler-{made.tools_digest}",
            find_links=LAB.wheels,
        ),
        needs=(
            Directory(path=inputs),
            *(File(path=f"{inputs}/{name}", content=text) for name, text in texts.items()),
        ),
        drift=f"rm -r {prefix}/lib/python3*/site-packages/typing_extensions*",
    )


def image() -> Case:
    """The lab's image in the service user's store, from which that user removes it."""
    reference = environments.load("trtllm-1.3.0rc3-lab").image
    return Case(
        resource=containers.image(LAB.host(NODE), LAB, reference, USER),
        drift=(
            f"cd /; home=$(getent passwd {USER} | cut -d: -f6)\n"
            f'runuser -u {USER} -- env -i HOME="$home" PATH="$PATH" XDG_RUNTIME_DIR=/tmp/podman-run-$(id -u {USER}) '
            f"podman rmi --force {reference}"
        ),
    )


def weights() -> Case:
    """The lab's tiny model, copied; somebody edits one of its files and loses another."""
    tiny = model.load("tiny-kimi-k2")
    folder = f"{FOLDER}/law's model"
    return Case(
        resource=Weights(path=folder, manifest=tiny.files, source=tiny.source, records=f"{FOLDER}/records"),
        drift=f'cd "{folder}"; echo >>config.json; rm model-00002-of-00002.safetensors',
    )


SERVER = """
import http.server, json, os, client
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if not self.path.startswith(client.PROOF_PATH):
            os._exit(1)
        key, nonce = client.text_of(f"{os.path.dirname(__file__)}/proof-key"), self.path.partition("nonce=")[2]
        self.answer(client.proof_of(key, nonce, *self.connection.getsockname()).encode())
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(json.dumps({"usage": {"completion_tokens": 1}}).encode())
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("", 8029), Answer).serve_forever()
"""
SCRIPT = """#!/bin/bash
#SBATCH --output=FOLDER/job-%j.out --ntasks=1 --mem=256M --nodelist=NODE
# it is a while until the server is there, so that its absence can be seen
while :; do
  sleep 6
  printf '{"job": "%s"}' "$SLURM_JOB_ID" >FOLDER/ready.json
  python3 FOLDER/server.py
done
"""


def job(stack: str) -> Case:
    """A job that proves itself and serves one token at each request; somebody cancels it while it runs."""
    folder = f"{STORAGE}/{stack}"
    made = SlurmJob(stack=stack, folder=folder, fingerprint="aaaa", user=USER, completions=COMPLETIONS)
    return Case(
        node=STORAGE_HOST,
        resource=made,
        needs=(
            Directory(path=folder, owner=USER, purge=True),
            File(path=f"{folder}/server.py", content=SERVER, owner=USER),
            File(path=f"{folder}/client.py", content=program("client"), owner=USER),
            SecretFile(path=f"{folder}/proof-key", secret="proof-key", owner=USER),
            File(
                path=f"{folder}/job.sbatch",
                content=SCRIPT.replace("FOLDER", folder).replace("NODE", NODE),
                owner=USER,
            ),
            File(path=f"{folder}/key", content="a key\n", mode="0600", owner=USER),
        ),
        drift=(
            f'listed() {{ squeue --noheader --name={made.name} "$@" | grep -q .; }}\n'
            "until listed --states=running; do sleep 0.2; done\n"
            f"scancel --name={made.name}; while listed; do sleep 0.2; done"
        ),
    )


def endpoint() -> Case:
    """What such a job serves; its server dies of a request, and the job starts it again."""
    its = job("law-endpoint")
    assert isinstance(its.resource, SlurmJob)
    made = its.resource
    return Case(
        node=STORAGE_HOST,
        resource=Endpoint(
            stack=made.stack,
            folder=made.folder,
            port="8029",
            model="law",
            api_key_file=f"{made.folder}/key",
            user=made.user,
            timeout_s="60",
            fingerprint=made.fingerprint,
        ),
        needs=(*its.needs, made),
        drift=f"exec 3<>/dev/tcp/{NODE}/8029; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3 || true",
    )


CASES = (
    Case(
        resource=Block(path="/etc/hosts", name="law", content="192.0.2.9 nowhere\n"),
        drift="sed -i s/192.0.2.9/192.0.2.8/ /etc/hosts",
    ),
    Case(
        resource=Claim(folder=f"{FOLDER}/claims", artifact="env-a", stack="law", backend="b" * 16, holder="eva@desk"),
        drift=f"rm {FOLDER}/claims/env-a/law",
    ),
    environment(),
    Case(
        resource=Directory(path=f"{FOLDER}/a dir", mode="0750", owner="nobody", group="daemon"),
        drift=f"chmod 0777 '{FOLDER}/a dir'",
    ),
    endpoint(),
    Case(
        resource=File(path=f"{FOLDER}/a 'b'\n$c", content="x\n", owner="nobody", group="daemon", mode="0640"),
        drift=f"echo y >>{FOLDER}/a*",
    ),
    Case(
        resource=File(path="/etc/slipway-guarded", content="ours\n", guard=True),
        drift="echo theirs >/etc/slipway-guarded",
    ),
    image(),
    Case(resource=Package(names=("hello", "tree")), drift="dpkg --remove tree"),
    Case(
        resource=Requirement(
            name="law", check=f"cat {FOLDER}/holds", wanted="that it holds", fix=f"echo ok >{FOLDER}/holds"
        ),
        given=f"echo ok >{FOLDER}/holds",
        drift=f"echo broken >{FOLDER}/holds",
    ),
    Case(
        resource=SecretFile(path="/etc/slipway-law.key", secret="law", digest=hashlib.sha256(SECRET).hexdigest()),
        drift="echo another >/etc/slipway-law.key",
    ),
    job("law-job"),
    Case(
        resource=SubordinateIds(user="law-subuids", first="2110000000", count="65536"),
        needs=(User(name="law-subuids", uid="64778", home="/nonexistent"),),
        drift="usermod --del-subgids 2110000000-2110065535 law-subuids",
    ),
    Case(
        resource=Sysctl(name="net.ipv4.ip_local_reserved_ports", value="8000"),
        drift="sysctl -w net.ipv4.ip_local_reserved_ports=9000",
    ),
    unit(),
    Case(
        resource=User(name="slipway-law", uid="64777", home="/nonexistent", groups=("adm", "video")),
        drift="gpasswd --delete slipway-law video",
    ),
    weights(),
)
