"""Where an endpoint is bound, when a gateway stands before it, and what is written for nginx; no nginx runs here."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hosts.errors import InputError
from hosts.programs.client import PROOF_PATH
from infra.deployment import ANY, Deployment, EndpointConfig
from infra.engines import ENGINES
from infra.environments import IN_IMAGE
from infra.launchers import LAUNCHERS, gateway
from infra.placement import place
from tests.unit.stacks import FLEET, changed, environments, parse, shipped

TLS = EndpointConfig(certificate="/etc/ssl/llm.pem", key="/etc/ssl/llm.key")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder with fleets without SLURM: `bare`, whose first node has an interface, and `named`, by a name."""
    for name in ("inventory", "environments"):
        (tmp_path / name).mkdir()
    environments(tmp_path / "environments")
    fleet = FLEET.format(slurm="none").replace("address: 192.0.2.21,", "address: 192.0.2.21, interface: bond0,")
    (tmp_path / "inventory" / "bare.yaml").write_text(fleet)
    (tmp_path / "inventory" / "named.yaml").write_text(fleet.replace("192.0.2.21,", "n1.example,"))
    (tmp_path / "inventory" / "ours.yaml").write_text(FLEET.format(slurm="ours"))
    return tmp_path


def stack(endpoint: object, *, fleet: str = "bare", launcher: str = "systemd", nodelist: str = "") -> dict[str, Any]:
    """A stack's data with an endpoint."""
    data = changed("endpoint", endpoint)
    assert isinstance(data, dict)
    data["config"]["slipway:fleet"] = fleet
    data["config"]["slipway:launcher"] = {"name": launcher} | ({"nodelist": nodelist} if nodelist else {})
    if launcher == "slurm":
        data["config"]["slipway:launcher"]["time"] = "1:00:00"
    return data


def test_without_a_word_it_is_on_all_addresses(bare: Path) -> None:
    for fleet, launcher in (("ours", "slurm"), ("bare", "systemd")):
        d = parse(stack({}, fleet=fleet, launcher=launcher), bare)
        assert (d.gated, d.listen, d.answers) == (True, ("127.0.0.1", 18000), (ANY, 8000))
        assert d.url("n1") == "http://n1:8000"
    d = replace(parse(stack({}, fleet="ours", launcher="slurm"), bare), guards="all")
    assert (d.gated, d.listen) == (False, (ANY, 8000)), "what has no clients has no gateway"


@pytest.mark.parametrize("interface", ["bond0", "192.0.2.21"])
def test_on_an_interface(bare: Path, interface: str) -> None:
    d = parse(stack({"interface": interface}), bare)
    assert (d.listen, d.answers) == (("127.0.0.1", 18000), ("192.0.2.21", 8000))
    assert d.url("n1") == "http://192.0.2.21:8000"
    d = replace(d, guards="all")  # as an engine that asks for the key before all of its paths
    assert d.listen == d.answers == ("192.0.2.21", 8000)
    argv = ENGINES[d.engine].command(d, place(d).ranks[0]).argv
    assert argv[argv.index("--host") + 1] == "192.0.2.21"


def test_with_tls_a_gateway_stands_before_any_engine(bare: Path) -> None:
    tls = {"certificate": TLS.certificate, "key": TLS.key}
    d = parse(stack({"interface": "bond0", "tls": tls}), bare)
    assert (d.gated, d.listen, d.answers) == (True, ("127.0.0.1", 18000), ("192.0.2.21", 8000))
    assert d.url("n1") == "https://192.0.2.21:8000"


WRONG = [
    (["bond0"], "$.endpoint", "a mapping"),
    ({"interfaces": "bond0"}, "$.endpoint.interfaces", "did you mean interface?"),
    ({"interface": "bond 0"}, "$.endpoint.interface", "the interface of the head's host as the fleet declares it"),
    ({"interface": 8}, "$.endpoint.interface", "text"),
    ({"interface": "bond1"}, "$.endpoint.interface", "did you mean bond0?"),
    ({"interface": "eth7"}, "$.endpoint.interface", "wanted bond0, the interface of n1 (hosts/inventory/bare.yaml)"),
    ({"interface": "127.0.0.1"}, "$.endpoint.interface", "an address of n1 that others reach"),
    ({"interface": ANY}, "$.endpoint.interface", "left out, it is bound to all addresses"),
    ({"interface": "192.0.2.22"}, "$.endpoint.interface", "the address of n2, wanted an address of n1, the head"),
    ({"tls": {}}, "$.endpoint.tls.certificate", "found nothing, wanted the absolute path of a PEM file"),
    ({"tls": {"certificate": "/a.pem"}}, "$.endpoint.tls.key", "found nothing"),
    ({"tls": {"certificate": "a.pem", "key": "/k"}}, "$.endpoint.tls.certificate", "the absolute path"),
    ({"tls": {"certificate": "/a b", "key": "/k"}}, "$.endpoint.tls.certificate", "without blanks"),
    ({"tls": {"certificate": "/a/../b", "key": "/k"}}, "$.endpoint.tls.certificate", "the absolute path"),
    ({"tls": {"certificate": "/a", "key": "/k", "kex": "/k"}}, "$.endpoint.tls.kex", "did you mean key?"),
    ({"tls": {"certificate": "/a", "key": {"secure": "v1:x"}}}, "$.endpoint.tls.key", "an encrypted value"),
    ({"tls": "/a"}, "$.endpoint.tls", "a mapping"),
]  # fmt: skip


@pytest.mark.parametrize(("endpoint", "where", "said"), WRONG, ids=[str(row[0]) for row in WRONG])
def test_a_wrong_endpoint(bare: Path, endpoint: object, where: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(stack(endpoint), bare)
    told = [str(problem) for problem in caught.value.problems if problem.where == where]
    assert any(said in line for line in told), str(caught.value)


ELSEWHERE = [
    ("bare", "systemd", "n2", "the fleet declares no interface of n2"),
    ("named", "systemd", "", "whose address the fleet declares as the name n1.example"),
    ("ours", "slurm", "", "SLURM chooses the node, and with it the address"),
]


@pytest.mark.parametrize(("fleet", "launcher", "nodelist", "said"), ELSEWHERE, ids=[row[0] for row in ELSEWHERE])
def test_an_interface_that_is_not_there(bare: Path, fleet: str, launcher: str, nodelist: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(stack({"interface": "bond0"}, fleet=fleet, launcher=launcher, nodelist=nodelist), bare)
    assert said in str(caught.value)


GATED = [
    ("k2-trtllm-tp16", EndpointConfig(), True),
    ("k2-sglang-pd-4p12d", EndpointConfig(), True),
    ("k2-ktransformers", EndpointConfig(), True),
    ("k2-ktransformers-legacy", EndpointConfig(), True),
    ("k2-vllm-tp16-ray", EndpointConfig(), True),
    ("k2-vllm-tp16-ray", TLS, True),
    ("k2-vllm-tp16", EndpointConfig(), True),
    ("k2-sglang-tp16", EndpointConfig(), True),
    ("eagle3-3node", EndpointConfig(), False),
]


@pytest.mark.parametrize(("name", "endpoint", "gated"), GATED, ids=[f"{row[0]}-{row[2]}" for row in GATED])
def test_a_gateway_stands_in_front_of_every_engine_with_clients(
    name: str, endpoint: EndpointConfig, gated: bool
) -> None:
    d = replace(shipped(name), endpoint=endpoint)
    assert d.gated == gated
    assert d.listen == (("127.0.0.1", d.inner_port) if gated else (ANY, d.port))
    clients = ENGINES[d.engine].router(d, place(d)) or ENGINES[d.engine].command(d, place(d).ranks[0])
    if d.engine == "vllm":
        assert ("--uds" in clients.argv, "--port" in clients.argv) == (gated, not gated)
    elif "--port" in clients.argv:
        words = clients.argv
        assert (words[words.index("--host") + 1], words[words.index("--port") + 1]) == (d.listen[0], str(d.listen[1]))


def test_workers_behind_a_router_listen_on_their_nodes() -> None:
    d = shipped("k2-sglang-pd-4p12d")
    for rank in place(d).ranks:
        argv = ENGINES[d.engine].command(d, rank).argv
        assert argv[argv.index("--host") + 1] == rank.address


@pytest.mark.parametrize(
    ("port", "inner"), [(1024, 11024), (8000, 18000), (55535, 65535), (55536, 45536), (65535, 55535)]
)
def test_the_port_behind_it(port: int, inner: int) -> None:
    assert replace(shipped("k2-trtllm-tp16"), port=port).inner_port == inner


def test_the_port_behind_it_is_nobody_elses() -> None:
    d = shipped("k2-trtllm-tp16")
    assert not list(gateway.problems(d, {2233: "the mesh's sshd"}))
    (problem,) = gateway.problems(replace(d, port=2233), {12233: "the mesh's sshd"})
    inner = "2233, which puts the engine behind its gateway on 12233, the port of the mesh's sshd"
    assert (problem.where, problem.found) == ("$.port", inner)
    pd = shipped("k2-sglang-pd-4p12d")
    for port in (20000, 40000, 30000):
        found = [str(problem) for problem in ENGINES[pd.engine].problems(replace(pd, port=port))]
        assert any("another port" in line for line in found), port


def test_its_configuration() -> None:
    d = shipped("k2-trtllm-tp16")
    servers = ENGINES[d.engine].servers(d, place(d))
    text = gateway.conf(d, servers)
    assert servers == (f"127.0.0.1:{d.inner_port}",)
    assert f"listen 0.0.0.0:{d.port} backlog" in text
    assert text.count(f"proxy_pass http://127.0.0.1:{d.inner_port}") == 2
    assert text.count("if (!-f @TMP@/open)") == 2, "a port on loopback is anybody's on the node"
    assert "include @TMP@/key.conf;" in text
    assert {line.split()[1].rpartition("/")[0] for line in text.splitlines() if "_temp_path" in line} == {"@TMP@"}
    assert 'proxy_set_header Authorization "";' in text
    assert "ssl" not in text
    paths_in = {word.rstrip(";") for word in text.split() if word.startswith("/")} - {"/", "/health", PROOF_PATH}
    assert all(path.startswith("/proc") for path in paths_in), "it reads nothing of another's and needs no root"


def test_vllm_behind_it_listens_on_a_socket_that_nobody_else_reaches() -> None:
    d = shipped("dgx-h200")
    engine, (rank,) = ENGINES[d.engine], place(d).ranks
    assert engine.servers(d, place(d)) == ("unix:@RUN@/engine.sock",)
    text = gateway.conf(d, engine.servers(d, place(d)))
    assert text.count("proxy_pass http://unix:@RUN@/engine.sock") == 2
    assert "@TMP@/open" not in text
    command = engine.command(d, rank)
    assert "--uds" in command.argv
    assert not {"--host", "--port"} & set(command.argv)
    assert not command.secrets, "an engine that only its gateway reaches needs no key"


def test_each_node_that_answers_has_a_gateway_of_its_own() -> None:
    d = shipped("lab-dp2")
    launcher = replace(d.launcher, name="systemd", nodelist=("dgx1", "dgx2"))
    d = replace(d, launcher=launcher, args={**d.args, "data-parallel-hybrid-lb": True})
    engine, spot = ENGINES[d.engine], place(d)
    assert engine.servers(d, spot) == ("unix:@RUN@/engine.sock", "10.77.0.22:18000")
    files = LAUNCHERS["systemd"].files(d, spot, engine)
    peer = files["nginx-10.77.0.22.conf"]
    assert "listen 10.77.0.22:18000 backlog" in peer
    assert peer.count("proxy_pass http://unix:@RUN@/engine.sock") == 2
    assert "server 10.77.0.22:18000 max_fails" in files["nginx.conf"]
    assert {name for name in files if name.endswith("gateway.sh")} == {"dgx1/gateway.sh", "dgx2/gateway.sh"}
    for rank in spot.ranks:
        assert "--uds" in engine.command(d, rank).argv


def test_its_configuration_before_several_servers() -> None:
    d = shipped("k2-vllm-tp16-ray")
    text = gateway.conf(d, ("unix:@RUN@/engine.sock", "[2001:db8::7]:18000"))
    assert "least_conn;" in text
    assert text.count(" max_fails=1 fail_timeout=") == 2
    assert "server [2001:db8::7]:18000 max" in text
    assert text.count("proxy_pass http://engine") == 2
    assert "proxy_next_upstream error timeout;" in text
    assert "non_idempotent" not in text
    assert "proxy_set_header Authorization" not in text, "the gateway of another node requires the key as well"


def test_its_configuration_with_tls() -> None:
    d = replace(shipped("k2-vllm-tp16-ray"), endpoint=replace(TLS, address="2001:db8::7"))
    text = gateway.conf(d, ("unix:@RUN@/engine.sock",))
    assert "listen [2001:db8::7]:8000 ssl backlog" in text
    assert "ssl_certificate /etc/ssl/llm.pem;" in text
    assert "ssl_protocols TLSv1.2 TLSv1.3;" in text


def test_nginx_comes_with_the_environment_to_nodes_of_a_site() -> None:
    d = shipped("dgx-h200")
    site = replace(d, fleet=replace(d.fleet, slurm="existing"))
    brought = replace(d.software, requirements=f"vllm==0.19.1\n{gateway.WHEEL}==1.31.3\n")
    assert not list(gateway.problems(replace(site, software=brought), {}))
    (problem,) = gateway.problems(replace(site, software=replace(d.software, requirements="vllm==0.19.1\n")), {})
    assert (problem.level, problem.where) == ("warning", "$.environment")
    (problem,) = gateway.problems(replace(site, image="x@sha256:1", software=IN_IMAGE), {})
    assert (problem.level, problem.where) == ("warning", "$.image")


def written(d: Deployment, key: str, folder: Path) -> str:
    """The file of the key as the process writes it; nginx is a stand-in that is there."""
    _, before = gateway.process(d, ("127.0.0.1:18000",))
    (folder / "api-key").write_text(key)
    (folder / "nginx").touch(0o755)
    shell = before.replace(f"{d.fleet.storage.path}/.slipway/{d.stack}", str(folder))
    script = f"set -euo pipefail; PATH=$PATH:{folder}; TMPDIR={folder}; {shell}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=20)
    assert done.stderr == ""
    if done.returncode:
        assert not key.strip() or key.strip() not in done.stdout
        return done.stdout
    assert (folder / "key.conf").stat().st_mode & 0o777 == 0o600
    return (folder / "key.conf").read_text()


KEYS = ["simple", "a b\n", '"\n', "\\", "$1 ${x} {;} # '", "k" * 512, "*.?[a]|^(b)+", "é"]


@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
def test_each_byte_of_the_key_is_written_as_its_number(key: str, tmp_path: Path) -> None:
    hexadecimal = "".join(f"\\x{byte:02x}" for byte in key.strip().encode())
    text = written(shipped("k2-trtllm-tp16"), key, tmp_path)
    assert text == f'"~^(?i:bearer) +{hexadecimal}\\z" 1;\n'


REFUSED = [("", "no API key in"), ("\n", "no API key in"), ("a\tb", "a control character"), ("k" * 513, "has 513")]


@pytest.mark.parametrize(("key", "said"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_key(key: str, said: str, tmp_path: Path) -> None:
    assert said in written(shipped("k2-trtllm-tp16"), key, tmp_path)
    assert not (tmp_path / "key.conf").exists()


def test_the_key_stands_in_no_argument() -> None:
    d = shipped("k2-trtllm-tp16")
    command, _ = gateway.process(d, ("127.0.0.1:18000",))
    assert command.argv[:2] == ("python3", "-I")
    assert command.argv[-2:] == (d.stack, "18000")
    assert not command.secrets
