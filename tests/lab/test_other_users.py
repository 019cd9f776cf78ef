"""What other users of the same machines get of a stack, and do to it: nothing. What a failed `up` leaves: nothing.

An attacker and a bystander (tests/lab/other_users.py), ordinary users of all nodes, against the stack `victim` on the
three kinds of fleet: a SLURM cluster of ours, a SLURM site of somebody else's as the user eva, and machines without
SLURM. Only the two command lines are used, and shells on nodes. The engine is SGLang's stand-in, in one place vLLM.
"""

import re
import shlex
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from hosts import fleet
from infra import environments
from lab import nodes
from tests.lab.commands import UP, Run, change, copied, fresh, on, until
from tests.lab.other_users import (
    ANSWER,
    ESCAPES,
    FOLDER,
    NODES,
    as_user,
    background,
    comment_of,
    end_users,
    heard,
    holding,
    impostor,
    make_users,
    plant_tools,
    public_key,
    serving,
    state_of,
    statuses,
)
from tools.places import ROOT, STACKS

pytestmark = [pytest.mark.lab, pytest.mark.pulumi, pytest.mark.timeout(900)]

STACK, FLEET, SLOW = "victim", "victims", "victim-vllm"
FILE = STACKS / f"Pulumi.{STACK}.yaml"
FLEET_FILE = ROOT / "hosts" / "inventory" / f"{FLEET}.yaml"
PORT, INNER_PORT = 8400, 18400
ENVIRONMENT = "sglang-0.5.23-lab"
STACK_TEXT = f"""config:
  slipway:fleet: FLEET
  slipway:model: tiny-kimi-k2
  slipway:engine:
    name: sglang
    release: "0.5.23"
    args: {{served-model-name: tiny-kimi-k2, trust-remote-code: true}}
  slipway:launcher: LAUNCHER
  slipway:parallelism: {{tensor: 1}}
  slipway:environment: {ENVIRONMENT}
  slipway:port: "{PORT}"
"""
LAUNCHERS = {
    "ours": '{name: slurm, partition: gpu, time: "1:00:00", cpus: 1, mem: 1G, nodelist: dgx1}',
    "existing": '{name: slurm, partition: gpu, time: "1:00:00", cpus: 1, mem: 1G, nodelist: dgx1}',
    "none": "{name: systemd, nodelist: dgx1}",
}
FLEET_TEXT = """slurm: KIND
stand_in: true
PARTITIONstorage: {path: STORAGE, shared: true}
known_hosts: ~/.cache/slipway/lab/known_hosts
identity: ~/.cache/slipway/lab/id_ed25519
wheels: /mirror/wheels
hosts:
  login: {role: login, address: 10.77.0.11, user: USERSUDO}
  dgx1: {address: 10.77.0.21, user: USER, cpus: 2, memory_mib: 12288, gpus: GPUS}
  dgx2: {address: 10.77.0.22, user: USER, cpus: 2, memory_mib: 12288, gpus: GPUS}
""".replace("GPUS", "{count: 8, model: stand-in, memory_mib: 143771, device: /dev/slipway-gpu}")
FOLDERS = ("envs", "models", "cache", ".slipway")
"""What Slipway makes on storage."""
ASIDE = "/storage/.aside"
"""Where a test keeps what storage has, until it is through: an environment need not be installed again."""
REQUESTS = (
    *(f"GET {path} " for path in ("/metrics", "/v1/models", "/version", "/server_info", "/model_info", "/load")),
    *(
        f'POST {path} {{"model": "tiny-kimi-k2", "prompt": "a", "text": "a", "token_ids": [1], "max_tokens": 1, '
        f'"sampling_params": {{"max_tokens": 1}}, "new_data_parallel_size": 1, "tokens": [1], '
        f'"messages": [{{"role": "user", "content": "a"}}]}}'
        for path in (
            "/v1/chat/completions", "/v1/completions", "/generate", "/invocations", "/inference/v1/generate",
            "/tokenize", "/detokenize", "/scale_elastic_ep",
        )
    ),
)  # fmt: skip
REFUSED = {401, 403, 404, 0}
"""What nobody gets anything of: HTTP statuses, and that nothing answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """The stack that others are after, on one kind of fleet, and the commands of who has it."""

    kind: str
    run: Run
    user: str
    """Who its processes run as."""
    storage: str = "/storage"

    @property
    def fleet(self) -> str:
        return "lab" if self.kind == "ours" else FLEET

    @property
    def folder(self) -> str:
        return f"{self.storage}/.slipway/{STACK}"

    def write(self) -> None:
        """Its stack file and its fleet's, as they were in the beginning."""
        text = STACK_TEXT.replace("FLEET", self.fleet).replace("LAUNCHER", LAUNCHERS[self.kind])
        salt = (STACKS / "Pulumi.lab.yaml").read_text().splitlines()[-1]
        FILE.write_text(f"{text}{salt}\n")
        if self.kind != "ours":
            text = FLEET_TEXT.replace("KIND", self.kind).replace("STORAGE", self.storage)
            text = text.replace("SUDO", "" if self.kind == "none" else ", sudo: false")
            text = text.replace("PARTITION", "" if self.kind == "none" else "partition: gpu\n")
            FLEET_FILE.write_text(text.replace("USER", "ops" if self.kind == "none" else self.user))

    def up(self) -> tuple[int, str]:
        """`pulumi up`, whatever comes of it."""
        return self.run.attempt("timeout", "-s", "INT", "150", *UP, "-s", STACK)

    def state(self) -> str:
        shown = self.run.attempt("invoke", "status", "-s", STACK, "--json")[1]
        found = re.search(r'^ *"state": "(\w+)"', shown, re.MULTILINE)
        return found[1] if found else shown

    def said(self) -> str:
        """What the stack's server answers, or its owner is told that it answers."""
        return self.run.attempt("invoke", "smoke", "-s", STACK)[1]

    def teardown(self) -> str:
        """A teardown that finds nothing left; and nothing is."""
        shown = self.run("invoke", "teardown", "-s", STACK, "--yes")
        assert self.left() == ""
        return shown

    def left(self, stack: str = STACK) -> str:
        """What a stack has on the machines: its folder, claims and units, and processes of its user."""
        claims = f"/var/lib/slipway/claims/*/{stack} {self.storage}/.slipway/claims/*/{stack}"
        folders = f"{self.storage}/.slipway/{stack} {claims} /etc/systemd/system/slipway-{stack}.*"
        running = (
            f"for p in $(pgrep -u {self.user},root -f 'install_env|sglang|vllm|nginx'); do "
            f"tr '\\0' '\\n' </proc/$p/environ 2>/dev/null | grep -qx SLIPWAY_STACK={stack} && echo $p; done; true"
        )
        return "".join(on(node, f"ls -d {folders} 2>/dev/null; {running}") for node in NODES)

    def jobs(self) -> list[str]:
        """The ids of its own live jobs."""
        states = "--states=PENDING,RUNNING,CONFIGURING"
        return on("login", f"squeue --noheader --user={self.user} --name=slipway-{STACK} {states} --format=%i").split()

    def wipe(self) -> None:
        """The stack is gone from machines and backend, by hand, whatever an earlier test left; files are as first."""
        end_users()
        if self.kind != "none":
            on("login", f"scancel --user={self.user} 2>/dev/null", None)
            until(lambda: on("login", f"squeue --noheader --user={self.user} 2>/dev/null", None) == "", 90)
        for node in NODES:
            on(
                node,
                f"systemctl stop 'slipway-{STACK}.*' 'slipway-env-*' 2>/dev/null\n"
                f"pkill -u {self.user} -f '[i]nstall_env.py'\n"
                f"rm -rf /etc/systemd/system/slipway-{STACK}.* /etc/systemd/system/*.wants/slipway-{STACK}.*\n"
                f"systemctl daemon-reload; rm -rf /var/lib/slipway/claims/*/{STACK}\n"
                f"find /tmp -maxdepth 1 -user {self.user} -name 'slipway.{STACK}.*' -exec rm -rf -- {{}} +\n"
                f"find /dev/shm -maxdepth 1 -user {self.user} '(' -name 'psm_*' -o -name 'sem.mp-*' ')' -delete",
                None,
            )
        on("login", f"rm -rf {self.folder} {self.storage}/.slipway/claims/*/{STACK}")
        self.write()
        self.run("pulumi", "stack", "rm", "-s", STACK, "--yes", "--force", "--preserve-config")
        self.run("pulumi", "stack", "init", STACK)


@pytest.fixture(scope="module", params=["ours", "existing", "none"])
def victim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """The stack, not up yet, on one kind of fleet: on fresh machines, or at the site that those of ours make."""
    kind, folder = request.param, tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        if kind == "existing":
            nodes.up(3)
            (folder / "backend").mkdir()
            run = Run(folder / "backend")
            on("login", "rm -f /etc/munge/munge.key")  # the value of whoever used the lab before: it would be held
            run("invoke", "bootstrap-cluster", "--fleet", "lab")
            make_site()
        else:
            run = stack.enter_context(fresh(3, folder))
        make_users()
        if kind == "existing":
            site_users()
        user = {"ours": "slipway", "existing": "eva", "none": "ops"}[kind]
        made = Victim(kind=kind, run=run, user=user, storage="/storage/eva" if kind == "existing" else "/storage")
        made.write()
        run("pulumi", "stack", "init", STACK)
        try:
            yield made
        finally:
            made.wipe()
            FILE.unlink()
            FLEET_FILE.unlink(missing_ok=True)
            on("login", f"rm -rf /storage/eva /storage/frank {FOLDER}")


def make_site() -> None:
    """What a site has on its nodes beside SLURM: nginx, whose own service does not run."""
    for node in ("dgx1", "dgx2"):
        on(
            node,
            "command -v nginx >/dev/null || { export DEBIAN_FRONTEND=noninteractive; "
            "apt-get install --yes --no-install-recommends nginx-light && systemctl disable --now nginx; }",
        )


def site_users() -> None:
    """eva and frank may log in to the login host, and have a folder each on storage."""
    key = public_key(fleet.load("lab").identity)
    for user in ("eva", "frank"):
        on(
            "login",
            f"install -d -m 700 -o {user} ~{user}/.ssh && echo '{key}' >~{user}/.ssh/authorized_keys && "
            f"chown {user} ~{user}/.ssh/authorized_keys && rm -rf /storage/{user} && "
            f"install -d -o {user} -g {user} /storage/{user}",
        )


@pytest.fixture
def absent(victim: Victim) -> Iterator[Victim]:
    """The stack, of which nothing is anywhere; and nothing of other users afterwards."""
    if victim.left() or victim.state() != "absent":
        victim.wipe()
    yield victim
    end_users()
    victim.write()


@pytest.fixture
def served(victim: Victim) -> Iterator[Victim]:
    """The stack, ready; and nothing of other users afterwards."""
    if victim.state() != "ready":
        victim.wipe()
        status, shown = victim.up()
        assert status == 0, shown
    yield victim
    end_users()
    victim.write()


@pytest.fixture
def empty(absent: Victim) -> Iterator[Victim]:
    """The stack, on storage that has nothing of Slipway yet; what was there comes back afterwards."""
    here = " ".join(f"{absent.storage}/{name}" for name in FOLDERS)
    on("login", f"rm -rf {ASIDE} && mkdir -m 700 {ASIDE}; for f in {here}; do [ ! -e $f ] || mv $f {ASIDE}/; done")
    yield absent
    absent.wipe()
    on("login", f"rm -rf {here}; find {ASIDE} -mindepth 1 -maxdepth 1 -exec mv -t {absent.storage} {{}} +")
    on("login", f"rmdir {ASIDE}")


def on_kinds(*kinds: str) -> pytest.MarkDecorator:
    """The kinds of fleet that a test is about, where it is not all."""
    return pytest.mark.parametrize("victim", kinds, indirect=True)


def never_heard(victim: Victim) -> None:
    """No server of mallory's was sent a key."""
    key = on("login", f"cat {victim.folder}/api-key 2>/dev/null", None)
    record = heard()
    assert "authorization" not in record.lower()
    assert not key or key not in record


def touched(victim: Victim) -> None:
    """A file of the stack is changed by hand, so that the next `up` has something to write."""
    on("login", f"echo '# by hand' >>{victim.folder}/ready.py")


# --- what is planted before the first `up` ---------------------------------------------------------------------------


def test_a_tool_environment_that_somebody_else_made_is_not_run(empty: Victim) -> None:
    """Its marker has the digest that everybody can read; what it runs would run as root, or as the site's user."""
    on("login", f"chmod 1777 {empty.storage}" if empty.kind == "existing" else ":")
    proof = plant_tools(empty.storage, environments.load(ENVIRONMENT))
    try:
        status, shown = empty.up()
    finally:
        on("login", f"chmod 755 {empty.storage}" if empty.kind == "existing" else ":")
    assert on("login", f"cat {proof}") == "", "mallory's program ran"
    assert status == 1, shown
    assert "mallory" in shown
    empty.teardown()


@on_kinds("ours", "none")
@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_somebody_else_made_first_is_refused(empty: Victim, name: str) -> None:
    """Storage is everybody's, and mallory was there first: nothing is written below her folder, and she is named."""
    as_user("mallory", "login", f"mkdir -m 755 /storage/{name} && touch /storage/{name}/planted")
    bootstrap = ("invoke", "bootstrap-cluster", "--fleet", empty.fleet)
    status, shown = empty.run.attempt(*bootstrap) if empty.kind == "ours" else empty.up()
    assert status != 0, shown
    assert f"/storage/{name}" in shown
    assert "mallory" in shown
    assert on("login", f"find /storage/{name} -mindepth 1 ! -user mallory") == ""


@on_kinds("existing")
@pytest.mark.parametrize(
    ("make", "path", "named"),
    [
        ("install -d -m 777 -o mallory /storage/open", "/storage/open", "/storage/open"),
        (
            "install -d -m 755 -o mallory /storage/open && install -d -o eva /storage/open/eva",
            "/storage/open/eva",
            "/storage/open",
        ),
        (
            (
                "groupadd -f project && usermod -aG project mallory && usermod -aG project eva && "
                "install -d -m 2770 -g project /storage/open && install -d -o eva /storage/open/eva"
            ),
            "/storage/open/eva",
            "/storage/open",
        ),
    ],
    ids=["everybody's", "in_a_stranger's", "in_a_group's"],
)
def test_storage_that_others_can_swap_is_refused(absent: Victim, make: str, path: str, named: str) -> None:
    """A folder that mallory owns, or whose ancestor she may rename in, is no storage: nothing is written there."""
    on("login", f"rm -rf /storage/open; {make}")
    try:
        FLEET_FILE.write_text(FLEET_FILE.read_text().replace(absent.storage, path))
        status, shown = absent.up()
        assert on("login", f"find {path} -mindepth 1") == ""
        assert status == 1, shown
        assert named in shown
    finally:
        on("login", "rm -rf /storage/open; groupdel project 2>/dev/null; true")


# --- an `up` that fails ----------------------------------------------------------------------------------------------


@on_kinds("existing", "none")
def test_an_environment_that_fails_leaves_nothing(empty: Victim) -> None:
    """The wheels are not there; after that a teardown succeeds, and no claim and no folder is left."""
    change(FLEET_FILE, "wheels: /mirror/wheels", "wheels: /mirror/nowhere")
    status, shown = empty.up()
    assert status == 1, shown
    assert "wheel" in shown
    empty.teardown()


@on_kinds("ours", "existing")
def test_a_launch_that_fails_leaves_nothing(absent: Victim) -> None:
    """SLURM refuses the job of the first `up`; after that a teardown succeeds, and no API key is left."""
    change(FILE, "cpus: 1,", "cpus: 1, constraint: h200,")
    status, shown = absent.up()
    assert status == 1, shown
    absent.teardown()


# --- what waits for the first `up` -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("address", "port"), [("0.0.0.0", PORT), ("127.0.0.1", INNER_PORT)], ids=["endpoint", "inner"])  # noqa: S104
def test_a_stranger_on_the_port_gets_no_key(absent: Victim, address: str, port: int) -> None:
    """Mallory listens first: no key is sent to her, and nothing is called ready that is hers."""
    with serving(NODES, address, port):
        status, shown = absent.up()
        never_heard(absent)
        assert ANSWER not in absent.said()
        never_heard(absent)
        if port == PORT:
            assert status == 1, shown
            assert absent.state() != "ready"


def test_temporary_folders_that_were_made_before_block_nothing(absent: Victim) -> None:
    """Mallory made the folders of the names that a job or a unit would take."""
    for node in NODES:
        as_user("mallory", node, f"mkdir -m 700 /tmp/slipway.{STACK}.{{{{1..300}},gateway,rank-0,router}}")
    status, shown = absent.up()
    assert status == 0, shown
    assert absent.state() == "ready"


@on_kinds("ours", "existing")
def test_a_job_of_that_name_before_the_first_up_is_somebody_else_s(absent: Victim) -> None:
    """A stranger's job with our name and tag is neither cancelled nor asked, and ours is submitted beside it."""
    comment = f"slipway={STACK},fingerprint=0123456789abcdef,intent=0"
    with impostor(STACK, PORT, comment) as theirs:
        status, shown = absent.up()
        assert state_of(theirs) == "RUNNING"
        never_heard(absent)
        assert status == 0, shown
        assert len(absent.jobs()) == 1


# --- while it serves -------------------------------------------------------------------------------------------------


def test_nobody_gets_anything_without_the_key(served: Victim) -> None:
    """No port that the stack opens to the network answers any path of its engine."""
    assert answers_without_a_key(served) == {}


def answers_without_a_key(victim: Victim) -> dict[str, int]:
    """The requests that bob on another node gets more than a refusal of, by port, method and path."""
    uid = on("dgx1", f"id -u {victim.user}")
    listing = on("dgx1", "ss -Hltne").splitlines()
    ports = [line.split()[3].rpartition(":") for line in listing if f"uid:{uid} " in f"{line} "]
    reached = {port for address, _, port in ports if not address.startswith(("127.", "[::1]"))}
    assert reached
    return {
        f"{port} {request}": status
        for port in reached
        for request, status in statuses("bob", "dgx2", f"http://10.77.0.21:{port}", REQUESTS).items()
        if status not in REFUSED
    }


def test_escapes_in_a_log_do_not_reach_the_terminal(served: Victim) -> None:
    """What a client sent may be in the log; `logs` shows it in a form that a terminal does not act on."""
    log = f"{served.folder}/job-*.out" if served.kind != "none" else f"{served.folder}/dgx1/rank-0.log"
    on("login", f"for f in {log}; do printf %s {shlex.quote(f'GET /{ESCAPES}xyzzy')} >>$f; echo >>$f; done")
    shown = served.run("invoke", "logs", "-s", STACK)
    assert "xyzzy" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown


@on_kinds("ours", "existing")
@pytest.mark.parametrize(
    "forged", ["", f"\n99|RUNNING|dgx2|None|slipway={STACK},{ESCAPES}"], ids=["copied", "with_a_row_in_its_comment"]
)
def test_a_job_of_the_same_name_is_somebody_else_s(served: Victim, forged: str) -> None:
    """Mallory copied name and comment: who is asked, shown and left alone is our own job; hers is named as hers."""
    before = served.jobs()
    with impostor(STACK, PORT, comment_of(STACK) + forged) as theirs:
        status = served.run.json("invoke", "status", "-s", STACK)
        shown = served.run("invoke", "status", "-s", STACK)
        said = served.said()
        never_heard(served)
        assert status["state"] == "ready"
        assert "dgx1" in str(status["endpoint"])
        assert ANSWER not in said
        assert "stand-in" in said
        assert "mallory" in shown
        assert "\x1b" not in shown
        code, shown = served.up()
        never_heard(served)
        assert state_of(theirs) == "RUNNING"
        assert served.jobs() == before
        assert code == 0, shown


@on_kinds("ours", "existing")
def test_a_change_that_slurm_refuses_leaves_the_job_running(served: Victim) -> None:
    """No node has such GPUs: `up` fails before anything that runs is ended."""
    before = served.jobs()
    change(FILE, "cpus: 1,", "cpus: 1, constraint: h200,")
    status, shown = served.up()
    assert status == 1, shown
    assert served.jobs() == before
    served.write()
    assert served.state() == "ready"


@on_kinds("existing")
def test_more_memory_than_slurm_has_leaves_the_job_running(served: Victim) -> None:
    """The fleet's file declares more memory of a node than its SLURM gives away."""
    before = served.jobs()
    FLEET_FILE.write_text(FLEET_FILE.read_text().replace("12288", "65536"))
    change(FILE, "mem: 1G", "mem: 40G")
    status, shown = served.up()
    assert status == 1, shown
    assert served.jobs() == before


def test_a_stranger_s_locks_block_nothing(served: Victim) -> None:
    """Mallory locks every lock file that she may open; an `up` that has something to write goes through."""
    touched(served)
    patterns = [f"{folder}/{name}" for folder in LOCKS for name in ("*.lock", "lock-*", "*.running")]
    with holding(patterns):
        status, shown = served.up()
        assert status == 0, shown
    assert "by hand" not in on("login", f"cat {served.folder}/ready.py")


LOCKS = ("/run/lock", "/run/slipway", "/storage/*", "/storage/*/*", "/storage/*/*/*")


@on_kinds("ours", "none")
def test_a_link_in_the_lock_s_place_is_not_followed(served: Victim) -> None:
    """The folder of locks is everybody's: what mallory links there is not written through as root."""
    target = "/etc/by-mallory"
    for node in NODES:
        on(node, f"rm -f /run/lock/slipway.lock {target}")
        as_user("mallory", node, f"ln -s {target} /run/lock/slipway.lock")
    touched(served)
    try:
        status, shown = served.up()
        assert [node for node in NODES if on(node, f"ls {target} 2>/dev/null", None)] == []
        assert status == 0, shown
    finally:
        for node in NODES:
            on(node, f"rm -f /run/lock/slipway.lock {target}")


# --- when it goes ----------------------------------------------------------------------------------------------------


@on_kinds("ours", "existing")
def test_a_teardown_leaves_the_jobs_of_others(served: Victim) -> None:
    """Our job ends; mallory's of the same name runs on, and is no reason to fail."""
    with impostor(STACK, PORT, comment_of(STACK)) as theirs:
        served.teardown()
        assert state_of(theirs) == "RUNNING"
        assert served.jobs() == []
        never_heard(served)


def test_what_killed_engines_leave_in_memory_goes_with_the_stack(served: Victim) -> None:
    """Segments of the stack's user that no process holds are taken away; those of bob are his."""
    make = (
        "import os; from multiprocessing import resource_tracker, shared_memory as m; "
        "m.SharedMemory(create=True, size=4096); os.kill(resource_tracker._resource_tracker._pid, 9); "
        "os.kill(os.getpid(), 9)"
    )
    for user in (served.user, "bob"):
        as_user(user, "dgx1", f"python3 -c '{make}'; umask 077; echo >/dev/shm/sem.mp-{user[:3]}1x2y_", None)
    found = "find /dev/shm -name 'psm_*' -user {0} -o -name 'sem.mp-*' -user {0}"
    assert len(on("dgx1", found.format(served.user)).splitlines()) == 2
    if served.kind == "existing":  # nobody of ours logs in to its nodes: the job itself takes them away
        served.run("invoke", "teardown", "-s", STACK, "--yes")
        until(lambda: on("dgx1", found.format(served.user)) == "", 30)
    else:
        served.teardown()
        assert on("dgx1", found.format(served.user)) == ""
    assert len(on("dgx1", found.format("bob")).splitlines()) == 2


FORGED = f"{ESCAPES}\nlogin: claims: /var/lib/slipway/claims/fleet/other\n"


def tagged_process() -> None:
    shell = f"exec -a {shlex.quote(FORGED)} sleep 900"
    background("login", "decoy", ["bash", "-c", shell], environment=[f"SLIPWAY_STACK={STACK}"])


def tagged_server() -> None:
    words = ["python3", f"{FOLDER}/server.py", "0.0.0.0", "8499", "/dev/null"]  # noqa: S104
    background("login", "decoy", words, environment=[f"SLIPWAY_STACK={STACK}"])


def named_segment() -> None:
    as_user("mallory", "login", f"touch /dev/shm/slipway.{STACK}.{shlex.quote(FORGED.replace('/', '-'))}")


def named_folder() -> None:
    as_user("mallory", "login", f"mkdir /tmp/slipway.{STACK}.{shlex.quote(FORGED.replace('/', '-'))}")


@pytest.mark.parametrize("make", [tagged_process, tagged_server, named_segment, named_folder])
def test_what_others_name_after_a_stack_is_not_left_of_it(absent: Victim, make: object) -> None:
    """A tag, a title or a name is anybody's to choose: a teardown succeeds, advises nothing, and prints no escapes."""
    assert callable(make)
    make()
    theirs = (
        f"pgrep -u mallory -l; find /dev/shm /tmp -maxdepth 1 -user mallory -name 'slipway.{STACK}.*' -printf '%i\\n'"
    )
    before = on("login", theirs)
    assert before
    shown = absent.run("invoke", "teardown", "-s", STACK, "--yes")
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert not re.search(r"^\s*login: claims:", shown, re.MULTILINE)
    assert not re.search(r"\bkill \d", shown)
    assert on("login", theirs) == before


# --- two users of one site, one name ---------------------------------------------------------------------------------


@contextmanager
def as_frank(victim: Victim, folder: Path) -> Iterator[Victim]:
    """The same files say that it is frank who has the stack, on storage and in a backend of his own."""
    (folder / "backend").mkdir()
    frank = Victim(kind=victim.kind, run=Run(folder / "backend"), user="frank", storage="/storage/frank")
    frank.write()
    change(FILE, f'"{PORT}"', f'"{PORT + 1}"')
    frank.run("pulumi", "stack", "init", STACK)
    try:
        yield frank
    finally:
        frank.wipe()
        victim.write()


@on_kinds("existing")
def test_two_users_of_a_site_may_have_stacks_of_one_name(served: Victim, tmp_path: Path) -> None:
    """Each sees, asks and ends the own job alone."""
    hers = served.jobs()
    with as_frank(served, tmp_path) as frank:
        status, shown = frank.up()
        assert served.jobs() == hers
        assert status == 0, shown
        assert str(PORT + 1) in str(frank.run.json("invoke", "status", "-s", STACK)["endpoint"])
        frank.teardown()
    assert served.jobs() == hers
    assert served.state() == "ready"
    assert served.up()[0] == 0
    assert served.jobs() == hers


# --- a long install, and the engine that has paths of its own --------------------------------------------------------


@on_kinds("ours")
def test_ctrl_c_returns_at_once_and_a_teardown_ends_the_installer(absent: Victim) -> None:
    """The installer is detached and goes on; a teardown of the only stack that wants it ends it."""
    on("login", "rm -rf /storage/envs/vllm-0.19.1-cpu-*")
    with copied(absent.run, "lab", SLOW):
        try:
            took_s = absent.run.killed_up(SLOW, installing, signal.SIGINT, group=True)
            assert took_s < 2
            absent.run("invoke", "teardown", "-s", SLOW, "--yes")
            assert on("login", "pgrep -af '[i]nstall_env.py'", None) == ""
            assert absent.left(SLOW) == ""
        finally:
            on("login", "systemctl stop 'slipway-env-*'", None)
            forget(absent, SLOW)


def installing() -> bool:
    """Whether the installer has been at work for some seconds."""
    ages_s = on("login", "pgrep -f '[i]nstall_env.py' | xargs -r ps -o etimes= -p", None).split()
    return any(int(age_s) >= 5 for age_s in ages_s)


def forget(victim: Victim, stack: str) -> None:
    """What is left of another stack of ours goes by hand."""
    victim.run.attempt("invoke", "teardown", "-s", stack, "--yes")
    for node in NODES:
        on(node, f"rm -rf /var/lib/slipway/claims/*/{stack}")
    on("login", f"rm -rf /storage/.slipway/{stack} /storage/.slipway/claims/*/{stack}")
    victim.run("pulumi", "stack", "rm", "-s", stack, "--yes", "--force", "--preserve-config")


@on_kinds("ours")
def test_vllm_s_own_paths_need_the_key(absent: Victim) -> None:
    """vLLM itself asks for the key below /v1 alone."""
    with copied(absent.run, "lab", SLOW, ("    cpus: 2", "    cpus: 2\n    nodelist: dgx1")):
        try:
            absent.run.up(SLOW)
            assert answers_without_a_key(absent) == {}
        finally:
            forget(absent, SLOW)
