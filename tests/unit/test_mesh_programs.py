"""The pure parts of the mesh's programs: what is read, composed, checked and said."""

import base64
import json
from pathlib import Path

import pytest

from hosts.programs import mesh, mpirun
from hosts.programs.mpirun import Report

KEY = "ssh-ed25519 " + base64.b64encode(mesh.KEY_START + bytes(32)).decode()
GOOD = {"epoch": 1, "keys": [{"host": KEY, "user": KEY}], "accepts": {"b": "00"}, "proof": "ab", "reach": {"b": "x"}}


def declared(**changed: object) -> dict[str, object]:
    hosts = [
        {"name": "a", "address": "10.0.0.1", "interface": "bond0", "gpus": 2},
        {"name": "b", "address": "10.0.0.2", "interface": "bond0", "gpus": 2},
    ]
    said = {"stack": "k2", "folder": "/s/k2", "port": 2233, "user": "root", "hosts": hosts, "enter": {"a": ["in"]}}
    return said | changed


@pytest.fixture
def two(tmp_path: Path) -> mesh.Mesh:
    (tmp_path / "mesh.json").write_text(json.dumps(declared()))
    return mesh.load(str(tmp_path / "mesh.json"))


@pytest.mark.parametrize(
    "changed",
    [
        {"stack": "a b"},
        {"user": "root\nPermitRootLogin yes"},
        {"user": "-oProxyCommand=x"},
        {"folder": "relative"},
        {"folder": "/a b"},
        {"hosts": [{"name": "-x", "address": "10.0.0.1", "interface": "e", "gpus": 1}]},
        {"hosts": [{"name": "a", "address": "10.0.0.1 x", "interface": "e", "gpus": 1}]},
        {"hosts": [{"name": n, "address": "10.0.0.1", "interface": "e", "gpus": 1} for n in "ab"]},
        {"hosts": None},
    ],
)
def test_a_mesh_that_is_none_is_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    (tmp_path / "mesh.json").write_text(json.dumps(declared(**changed)))
    with pytest.raises(mesh.Wrong, match="is no mesh"):
        mesh.load(str(tmp_path / "mesh.json"))


@pytest.mark.parametrize(
    "changed",
    [
        {"epoch": 0},
        {"epoch": True},
        {"epoch": "1"},
        {"keys": []},
        {"keys": [{"host": KEY, "user": KEY}] * 3},
        {"keys": [{"host": f'{KEY}\nfrom="*" {KEY}', "user": KEY}]},
        {"keys": [{"host": KEY, "user": f'command="x" {KEY}'}]},
        {"keys": [{"host": KEY, "user": KEY.replace("AAAAC3", "AAAAB3")}]},
        {"keys": [{"host": KEY, "user": KEY + "\n"}]},
        {"keys": [{"host": 7, "user": KEY}]},
        {"accepts": {"b": "no digest"}},
        {"accepts": {"../b": "00"}},
        {"accepts": []},
        {"reach": {"c": ""}},
        {"proof": "$(x)"},
    ],
)
def test_a_word_that_is_none_is_refused(two: mesh.Mesh, changed: dict[str, object]) -> None:
    with pytest.raises(mesh.Wrong):
        mesh.parse(json.dumps(GOOD | changed), two)


@pytest.mark.parametrize("text", ["", "[]", "7", "[" * 60000, '{"keys": 1}', "\0"])
def test_text_that_is_none_is_refused(two: mesh.Mesh, text: str) -> None:
    with pytest.raises(mesh.Wrong):
        mesh.parse(text, two)


def test_words_of_a_peer_are_harmless_on_a_screen(two: mesh.Mesh) -> None:
    said = mesh.parse(json.dumps(GOOD | {"reach": {"b": "\x1b[2J\nslipway: ok" + "x" * 999}}), two)
    assert said.reach["b"].startswith("?[2J?slipway: ok")
    assert len(said.reach["b"]) == 400


def test_files_of_others_large_files_and_links_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("x" * (mesh.MAX_BYTES + 1))
    with pytest.raises(mesh.Wrong, match="over 65536 bytes"):
        mesh.read(str(path))
    path.write_text("x")
    path.chmod(0o666)
    with pytest.raises(mesh.Wrong, match="that no other can write"):
        mesh.read(str(path))
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError, match="symbolic"):
        mesh.read(str(tmp_path / "link"))
    open_folder = tmp_path / "open"
    open_folder.mkdir(mode=0o755)
    with pytest.raises(mesh.Wrong, match="mode 0700"):
        mesh.folder(str(open_folder))


def test_the_environment_of_ranks_has_nothing_of_a_job_or_a_login() -> None:
    env = {
        "PATH": "/bin",
        "SLURM_JOB_ID": "1",
        "PMI_RANK": "0",
        "SSH_TTY": "x",
        "HOME": "/r",
        "Q": 'a"b',
        "N": "a\nb",
        "F-G": "x",
    }
    assert mesh.environment(env | {"LD_LIBRARY_PATH": "/a:/b c"}) == {"PATH": "/bin", "LD_LIBRARY_PATH": "/a:/b c"}


@pytest.mark.parametrize(
    ("said", "found"),
    [("mpirun (Open MPI) 4.1.4\n\nReport bugs", 4), ("mpirun (Open MPI) 4.1.7rc1", 4), ("mpirun (Open MPI) 5.0.11", 5)],
)
def test_the_family_of_open_mpi(said: str, found: int) -> None:
    assert mpirun.major(said) == found


@pytest.mark.parametrize("said", ["", "HYDRA build details:", "mpirun (Open MPI) 3.1.0"])
def test_another_mpi_is_refused(said: str) -> None:
    with pytest.raises(Exception, match="wanted Open MPI 4 or 5"):
        mpirun.major(said)


def test_the_line_in_both_spellings(two: mesh.Mesh) -> None:
    four = mpirun.compose(two, "/run/p", 4, ["HF_HOME"], ["serve"])
    assert " ".join(four) == (
        "mpirun -np 4 -H 10.0.0.1:2,10.0.0.2:2 -mca plm_rsh_args -p 2233 -F /run/p/ssh_config -mca plm rsh "
        "-mca ras ^slurm -mca plm_rsh_no_tree_spawn 1 "
        "-mca oob_tcp_if_include bond0 -mca btl_tcp_if_include bond0 --tag-output --map-by slot --bind-to none "
        "--allow-run-as-root -x HF_HOME -x SLIPWAY_MESH_RUN -x SLIPWAY_STACK serve"
    )
    five = mpirun.compose(two, "/run/p", 5, [], ["serve"])
    assert " ".join(five[5:]) == (
        "--prtemca plm_ssh_args -p 2233 -F /run/p/ssh_config --prtemca plm ssh --prtemca ras ^slurm "
        "--prtemca plm_ssh_no_tree_spawn 1 --prtemca prte_if_include bond0 --mca btl_tcp_if_include bond0 --output tag "
        "--map-by slot --bind-to none --allow-run-as-root -x SLIPWAY_MESH_RUN -x SLIPWAY_STACK serve"
    )
    mixed = [two.nodes[0], two.nodes[1]._replace(interface="eth1")]
    assert mpirun.network(mixed) == "10.0.0.0/30"


def reports(**changed: object) -> list[Report]:
    """Four good ones; the third changed."""
    good = [Report(r, r % 2, "ab"[r // 2], f"10.0.0.{1 + r // 2}", "bond0", 100.0, (), "k2", 100.1) for r in range(4)]
    good[2] = good[2]._replace(**changed)  # type: ignore[arg-type]
    return good


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, []),
        ({"rank": 9}, ["rank 2 on b has not reported"]),
        ({"host": "a"}, ["rank 2 is on a with local rank 0; wanted b with local rank 0"]),
        ({"local_rank": 1}, ["rank 2 is on b with local rank 1; wanted b with local rank 0"]),
        (
            {"source": "10.9.0.2", "interface": "eth0"},
            ["b -> a: wrong interface: rank 2 uses eth0 (10.9.0.2), declared is bond0"],
        ),
        ({"clock": 105.1}, ["b -> a: the clock of b is 5.0 s ahead; wanted under 2 s"]),
        ({"leaked": ("SLURM_JOB_ID",)}, ["rank 2 on b sees SLURM_JOB_ID: the engine would believe another launcher"]),
        ({"stack": ""}, ["rank 2 on b has SLIPWAY_STACK=''; wanted 'k2'"]),
    ],
)
def test_what_differs_from_the_placement(two: mesh.Mesh, changed: dict[str, object], said: list[str]) -> None:
    found = mpirun.check(two, reports(**changed))
    assert len(found) == len(said)
    assert all(text.startswith(start) for text, start in zip(found, said, strict=True))


def test_a_fault_of_all_ranks_of_a_host_is_said_once() -> None:
    assert mpirun.one_a_host(["rank 8 on b sees X", "rank 9 on b sees X", "rank 1 is elsewhere"]) == [
        "rank 8 on b sees X (and 1 more of its ranks)",
        "rank 1 is elsewhere",
    ]


DEATHS = [
    (
        "mpirun noticed that process rank 15 with PID 59 on node 10.77.0.24 exited on signal 9 (Killed).",
        (15, "died by signal 9 (Killed)"),
    ),
    (
        "prterun noticed that process rank 2 with PID 1705 on node vm exited on\nsignal 9 (Killed).",
        (2, "died by signal 9 (Killed)"),
    ),
    ("  Process name: [[45980,1],11]\n  Exit code:    7", (11, "ended with status 7")),
    ("   Process name: [prterun-vm-1862@1,2]\n   Exit code:    7", (2, "ended with status 7")),
    ("MPI_ABORT was invoked on rank 3 in communicator MPI_COMM_WORLD", (3, "called MPI_Abort")),
    (
        "ORTE has lost communication with a remote daemon.\n\n  Remote daemon: [[1,0],1] on node b",
        (None, ": its daemon on b is gone (killed, or the node or its network is down)"),
    ),
    ("Node:       a\nExecutable: nosuchthing", (None, ": a has no program nosuchthing")),
    ("something else", (None, "")),
]


@pytest.mark.parametrize(("said", "found"), DEATHS)
def test_who_died_of_what(said: str, found: tuple[int | None, str]) -> None:
    assert mpirun.died(said) == found


@pytest.mark.parametrize(
    ("line", "rank", "text"),
    [
        ("[1,3]<stdout>:hello", "3", "hello"),
        ("[1,0]<stderr>: hi", "0", "hi"),
        ("[prterun-vm-1@1,12]<stdout>: x", "12", "x"),
    ],
)
def test_tagged_lines(line: str, rank: str, text: str) -> None:
    found = mpirun.TAG.match(line)
    assert found
    assert found.groups() == (rank, text)


def test_variables_and_the_command_are_split_at_the_dashes() -> None:
    assert mpirun.split(["-x", "A", "-x", "B", "--", "serve", "--", "x"]) == (["A", "B"], ["serve", "--", "x"])
    with pytest.raises(Exception, match="wanted `-x NAME`"):
        mpirun.split(["A", "--", "serve"])
