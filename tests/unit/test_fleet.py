"""A fleet file becomes a fleet, or all its problems at once, each with its place."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from hosts import fleet
from hosts.errors import InputError
from hosts.schema import parse_yaml

NODE = {"address": "192.0.2.21", "user": "ops", "cpus": 224, "memory_mib": 2_000_000}
GPUS = {"count": 8, "model": "NVIDIA H200", "memory_mib": 143771}
RIGHT: dict[str, Any] = {
    "slurm": "ours",
    "storage": {"path": "/shared"},
    "hosts": {
        "login": {"role": "login", "address": "192.0.2.10", "user": "ops"},
        "n1": {**NODE, "gpus": GPUS, "jump": "login"},
        "n2": {**NODE, "address": "192.0.2.22", "gpus": {**GPUS, "device": "/dev/slipway-gpu"}},
    },
}


def changed(*changes: tuple[str, object]) -> dict[str, Any]:
    """The right file with values at dotted paths set, or taken out with None."""
    data = copy.deepcopy(RIGHT)
    for path, value in changes:
        *folders, key = path.split(".")
        place = data
        for folder in folders:
            place = place.setdefault(folder, {})
        if value is None:
            place.pop(key)
        else:
            place[key] = value
    return data


def problems(data: object) -> list[str]:
    try:
        fleet.parse("test", data, "test.yaml")
    except InputError as error:
        return [str(problem).removeprefix("error: ") for problem in error.problems]
    return []


@pytest.mark.parametrize("name", fleet.names())
def test_shipped_fleets_are_right(name: str) -> None:
    assert fleet.load(name).name == name


def test_a_right_file() -> None:
    f = fleet.parse("test", parse_yaml(yaml.safe_dump(RIGHT)), "test.yaml")
    assert [host.name for host in f.hosts] == ["login", "n1", "n2"]
    assert (f.login.name, [host.name for host in f.nodes]) == ("login", ["n1", "n2"])
    assert f.managed == f.hosts
    assert (f.partition, f.storage.shared, f.stand_in, f.login.port, f.login.sudo) == ("gpu", True, False, 22, True)
    assert f.host("n2").gpus == fleet.Gpus(count=8, model="NVIDIA H200", memory_mib=143771, device="/dev/slipway-gpu")
    with pytest.raises(KeyError, match="fleet test has no host 'n3'"):
        f.host("n3")


def test_only_the_login_host_is_ours_where_slurm_is_somebody_elses() -> None:
    f = fleet.parse("test", changed(("slurm", "existing")), "test.yaml")
    assert f.managed == (f.login,)
    assert not f.login.sudo


def test_containers_and_their_archives() -> None:
    f = fleet.parse("test", changed(("containers", "podman"), ("images", "/mirror/images")), "test.yaml")
    assert (f.containers, f.images) == ("podman", "/mirror/images")
    without = fleet.parse("test", RIGHT, "test.yaml")
    assert (without.containers, without.images) == ("", "")


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG1hZGUgdXAsIGRvY3VtZW50YXRpb24gb25seTogbGdu"
SIZES: list[tuple[str, object]] = [("hosts.n1.sockets", 2), ("hosts.n1.threads_per_core", 2)]
ONE: list[tuple[list[tuple[str, object]], str]] = [
    ([("slurm", "our")], "$.slurm: found 'our', wanted one of ours, existing, none; did you mean ours?"),
    ([("slurm", None)], "$.slurm: found nothing, wanted one of"),
    ([("storage.path", "shared")], "$.storage.path: found 'shared', wanted an absolute path"),
    ([("storage.path", "/shared/../etc")], "$.storage.path: found '/shared/../etc', wanted"),
    ([("containers", "docker")], "$.containers: found 'docker', wanted one of podman"),
    ([("images", "images")], "$.images: found 'images', wanted an absolute path"),
    ([("storage.share", True)], "$.storage.share: found an unknown key, wanted one of path, shared; did you mean"),
    ([("partiton", "gpu")], "$.partiton: found an unknown key, wanted one of containers, "),
    ([("price_per_gpu_hour", 2.5)], "$.price_per_gpu_hour: found 2.5, wanted a number in quotes, as"),
    ([("hosts.login.role", "head")], "$.hosts.login.role: found 'head', wanted one of login, node"),
    ([("hosts.login.user", None)], "$.hosts.login.user: found nothing, wanted a name or an address"),
    ([("hosts.login.port", "22")], "$.hosts.login.port: found '22', wanted a whole number from 1 to 65535"),
    ([("hosts.login.sudo", "no")], "$.hosts.login.sudo: found 'no', wanted true or false"),
    ([("hosts.login.address", "-oProxyCommand=id")], "$.hosts.login.address: found '-oProxyCommand=id', wanted a name"),
    ([("hosts.login.host_key", "AAAAC3Nz")], "$.hosts.login.host_key: found 'AAAAC3Nz', wanted a whole public key"),
    ([("hosts.n1.gpus.count", 0)], "$.hosts.n1.gpus.count: found 0, wanted a whole number from 1 to 64"),
    ([("hosts.n1.gpus.colour", "green")], "$.hosts.n1.gpus.colour: found an unknown key, wanted one of"),
    ([("hosts.n1.gpus", None)], "$.hosts.n1.gpus: found nothing, wanted count, model and memory_mib of its"),
    ([("hosts.n1.cpus", None)], "$.hosts.n1.cpus: found nothing, wanted what the machine has (`nproc`)"),
    ([("hosts.n1.gpus.memory_mib", 143)], "$.hosts.n1.gpus.memory_mib: found 143, wanted a whole number from 1024"),
    ([("hosts.n1.memory_mib", 0)], "$.hosts.n1.memory_mib: found nothing, wanted what the machine has"),
    (SIZES[:1], "$.hosts.n1: found one of sockets and threads_per_core, wanted both or none of them"),
    ([*SIZES, ("hosts.n1.cpus", 222)], "$.hosts.n1.cpus: found 222, wanted a multiple of 2 sockets x 2 threads"),
    ([("hosts.n1.jump", "n3")], "$.hosts.n1.jump: found 'n3', wanted another host of the fleet (login, n1, n2)"),
    ([("hosts.n1.jump", "n1")], "$.hosts.n1.jump: found 'n1', wanted another host of the fleet"),
    ([("hosts.n2.jump", "n1")], "$.hosts.n2.jump: found 'n1', wanted a host that is reached directly; n1 is"),
    ([("hosts.n2.address", "192.0.2.21")], "$.hosts.n2.address: found 192.0.2.21, wanted an address of its own; n1"),
    ([("hosts.n1.role", "login"), ("hosts.n1.jump", None)], "$.hosts: found 2 hosts of role login, wanted exactly one"),
    ([("hosts.login", None), ("hosts.n1.jump", None)], "$.hosts: found 0 hosts of role login, wanted exactly one"),
    ([("hosts.n1", None), ("hosts.n2", None)], "$.hosts: found no host of role node, wanted at least one"),
    ([("slurm", "existing"), ("hosts.login.sudo", True)], "$.hosts.login.sudo: found true, wanted false where"),
    ([("hosts.N3", {**NODE, "address": "192.0.2.23"})], "$.hosts: found the key 'N3', wanted for each host a name of"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "says"), ONE, ids=[says.split(",")[0] for _, says in ONE])
def test_one_wrong_value_is_one_problem(changes: list[tuple[str, object]], says: str) -> None:
    found = problems(changed(*changes))
    assert len(found) == 1, found
    assert found[0].startswith(says)


RIGHT_TOO: list[list[tuple[str, object]]] = [
    SIZES,
    [("slurm", "none"), ("hosts.login", None), ("hosts.n1.jump", None)],
    [("slurm", "existing"), ("hosts.n1.gpus", None), ("hosts.n1.cpus", None), ("hosts.n2.memory_mib", None)],
    [("hosts.n2.address", "192.0.2.21"), ("hosts.n2.port", 2222)],
    [("price_per_gpu_hour", "2.50"), ("known_hosts", "~/.ssh/known_hosts"), ("identity", "~/.ssh/a key")],
    [("hosts.login.host_key", KEY)],
    [("hosts.login.host_key", f"{KEY} root@login")],
]


@pytest.mark.parametrize(
    "key",
    [KEY[:-4], KEY[:-1], KEY + "AAAA", f"{KEY}A root@login", KEY.replace("ed25519 ", "rsa "), KEY[:36]],
    ids=["cut", "cut inside four", "longer", "one longer", "of another kind", "its kind alone"],
)
def test_a_host_key_that_is_none(key: str) -> None:
    """It would be found at the first connection, far from the file."""
    (found,) = problems(changed(("hosts.login.host_key", key)))
    assert found.startswith(f"$.hosts.login.host_key: found '{key[:60]}")
    assert found.endswith("as the machine's /etc/ssh/ssh_host_ed25519_key.pub has it")


@pytest.mark.parametrize("changes", RIGHT_TOO)
def test_what_is_right_too(changes: list[tuple[str, object]]) -> None:
    assert problems(changed(*changes)) == []


def test_all_problems_at_once() -> None:
    found = problems(
        changed(
            ("slurm", "our"),
            ("storage", {"path": "shared", "size": 1}),
            ("partition", 7),
            ("wheel", "/w"),
            ("hosts.login.user", "a b"),
            ("hosts.n1.gpus.count", "8"),
            ("hosts.n1.jump", "nowhere"),
            ("hosts.n2.cpus", None),
            ("hosts.n2.adress", "192.0.2.22"),
            ("hosts.n2.address", None),
        )
    )
    assert sorted({line.split(": found")[0] for line in found}) == [
        "$.hosts.login.user",
        "$.hosts.n1.gpus.count",
        "$.hosts.n1.jump",
        "$.hosts.n2.address",
        "$.hosts.n2.adress",
        "$.hosts.n2.cpus",
        "$.partition",
        "$.slurm",
        "$.storage.path",
        "$.storage.size",
        "$.wheel",
    ]


@pytest.mark.parametrize("data", [None, [], "text", {}, {"slurm": "none", "storage": {"path": "/s"}, "hosts": []}])
def test_what_is_no_fleet_file(data: object) -> None:
    assert problems(data)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "uors",
            (
                r"found 'uors', wanted a fleet with a file in hosts/inventory/ \(ours\); "
                r"run: invoke enroll --fleet uors HOST"
            ),
        ),
        ("../ours", r"found '../ours', wanted a fleet with a file in hosts/inventory/ \(ours\)$"),
        ("", r"found '', wanted a fleet"),
    ],
)
def test_an_unknown_fleet(name: str, says: str, tmp_path: Path) -> None:
    folder = tmp_path / "inventory"
    folder.mkdir()
    (folder / "ours.yaml").write_text(fleet.dump(RIGHT))
    assert fleet.load("ours", folder) == fleet.parse("ours", RIGHT, "")
    with pytest.raises(InputError, match=says):
        fleet.load(name, folder)


def test_a_written_file_keeps_its_order_and_reads_back() -> None:
    text = fleet.dump({**RIGHT, "partition": "on", "price_per_gpu_hour": "2.50", "wheels": "010"})
    assert text.startswith("slurm: ours\nstorage:\n")
    assert parse_yaml(text) == {**RIGHT, "partition": "on", "price_per_gpu_hour": "2.50", "wheels": "010"}


NAMESPACE = {
    "namespace": "aic",
    "volume": "weights",
    "quota": {"memory_mib": 1024, "gpus": 2},
    "node_selector": {"a": "b"},
}


def test_what_engines_ask_of_a_machine_and_queues_and_namespaces_of_a_job() -> None:
    data = changed(
        ("hosts.n1.cores", 112),
        ("hosts.n1.numa_nodes", 2),
        ("hosts.n1.cpu_flags", ["avx2", "amx_int8"]),
        ("hosts.n1.hcas", ["mlx5_3", "mlx5_10", "rocep1s0f0"]),
        ("limits", {"max_time": "2-00:00:00", "gpus": 16}),
        ("kubernetes", NAMESPACE),
    )
    f = fleet.parse("test", data, "test.yaml")
    assert (f.host("n1").cores, f.host("n1").numa_nodes, f.host("n1").cpu_flags) == (112, 2, ("avx2", "amx_int8"))
    assert f.host("n1").hcas == ("mlx5_3", "mlx5_10", "rocep1s0f0")
    assert (f.host("n2").cores, f.host("n2").cpu_flags, f.host("n2").hcas) == (0, (), ())
    assert f.limits == fleet.Limits(max_time="2-00:00:00", gpus=16)
    assert f.kubernetes is not None
    assert (f.kubernetes.quota.memory_mib, f.kubernetes.quota.cpus) == (1024, 0)
    assert f.kubernetes.node_selector == (("a", "b"),)
    assert f.managed == (f.login,)


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("hosts.n1.cores", 0, "$.hosts.n1.cores"),
        ("hosts.n1.cpu_flags", "avx2", "$.hosts.n1.cpu_flags"),
        ("hosts.n1.cpu_flags", ["AVX 2"], "$.hosts.n1.cpu_flags"),
        ("hosts.n1.hcas", "mlx5_0", "$.hosts.n1.hcas"),
        ("hosts.n1.hcas", ["=mlx5_0"], "$.hosts.n1.hcas"),
        ("hosts.n1.hcas", ["mlx5_0:1"], "$.hosts.n1.hcas"),
        ("hosts.n1.hcas", ["mlx5_0", "mlx5_0"], "$.hosts.n1.hcas"),
        ("limits", {"max_time": "a day"}, "$.limits.max_time"),
        ("limits", {"gpu": 8}, "$.limits.gpu"),
        ("kubernetes", {**NAMESPACE, "namespace": "A"}, "$.kubernetes.namespace"),
        ("kubernetes", {**NAMESPACE, "quota": {"memory": "1Gi"}}, "$.kubernetes.quota.memory"),
        ("kubernetes", {**NAMESPACE, "node_selector": {"a": 1}}, "$.kubernetes.node_selector"),
    ],
)
def test_what_is_wrong_there(path: str, value: object, where: str) -> None:
    assert [text.partition(":")[0] for text in problems(changed((path, value)))] == [where]
