"""Roles as values, and their checks run by a real shell against what real machines print."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import jinja2
import pytest

from hosts import fleet as fleets
from hosts.fleet import Fleet, Gpus, Host
from hosts.resources import KINDS
from hosts.resources.claim import Claim
from hosts.resources.environment import CondaEnv
from hosts.resources.files import Directory, File, SecretFile, owned_marker
from hosts.resources.system import Package, Requirement, Unit, User
from hosts.state import Resource, Stage, from_wire, to_wire
from hosts.trust import FUNCTIONS
from roles import containers, render, requirements
from roles.base import base
from roles.environment import environment
from roles.munge import munge
from roles.slurm import conf_files, gpu_type, slurm
from roles.storage import storage

LAB = fleets.load("lab")
DGX = fleets.load("dgx-h200")
DIGEST = hashlib.sha256(b"key").hexdigest()


def every(host: Host, fleet: Fleet) -> dict[str, tuple[Resource, ...]]:
    """All cluster stages of one host by name."""
    return {
        "base": base(host, fleet),
        "storage": storage(host, fleet, owner="slipway", group="slipway"),
        "munge": munge(key_digest=DIGEST, held=True),
        "slurm": slurm(host, fleet),
        "containers": containers.containers(host, fleet, "slipway"),
        "image": (containers.image(host, fleet, f"localhost/x@sha256:{DIGEST}", "slipway"),),
        "podman": containers.podman(host, fleet, "slipway"),
        "claim": (*requirements.machine(host, fleet), *requirements.gpus(host, cuda="12.8"), *requirements.disk(fleet)),
    }


@pytest.mark.parametrize("fleet", [LAB, DGX], ids=lambda fleet: fleet.name)
def test_stages_are_pure_and_cross_the_wire(fleet: Fleet) -> None:
    for host in fleet.hosts:
        for name, resources in every(host, fleet).items():
            assert resources == every(host, fleet)[name]
            stage = Stage(name=name, hosts={host.name: resources})
            assert tuple(from_wire(to_wire(r), KINDS) for r in stage.hosts[host.name]) == resources


@pytest.mark.parametrize("fleet", [LAB, DGX], ids=lambda fleet: fleet.name)
def test_all_shell_parses(fleet: Fleet) -> None:
    scripts = []
    for host in fleet.hosts:
        for resources in every(host, fleet).values():
            for resource in resources:
                scripts += [resource.probe(), *resource.steps(None), *resource.remove()]
    for resource in requirements.site(partition="gpu", nodes=2, gpus_per_node=8, account="a b", qos="q", time="1:00"):
        scripts.append(resource.probe())
    text = "\n".join(f"( {script}\n)" for script in scripts)
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_template_with_a_missing_value_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        render("gres.conf.j2", fleet="lab")


def test_base_makes_the_accounts_that_packages_would_make_otherwise() -> None:
    resources = base(LAB.login, LAB)
    assert {(r.name, r.uid) for r in resources if isinstance(r, User)} == {
        ("slurm", "64030"),
        ("munge", "64101"),
        ("slipway", "64100"),
    }
    compilers = [r for r in base(DGX.nodes[0], DGX) if isinstance(r, Package) and "g++" in r.names]
    assert compilers, "Triton compiles its launchers with the host's compiler"
    assert not any("g++" in r.names for r in base(LAB.nodes[0], LAB) if isinstance(r, Package))


def test_the_munge_key_comes_before_the_package_that_would_make_one() -> None:
    kinds = [type(r) for r in munge(key_digest=DIGEST, held=True)]
    assert kinds.index(SecretFile) < kinds.index(Package) < kinds.index(Unit)
    key = next(r for r in munge(key_digest=DIGEST, held=True) if isinstance(r, SecretFile))
    assert (key.guard, key.mode, key.owner, key.digest) == (True, "0400", "munge", DIGEST)


def test_storage_is_made_once_where_all_see_it_and_everywhere_else() -> None:
    assert [bool(storage(host, LAB, owner="slipway", group="slipway")) for host in LAB.hosts] == [True, False, False]
    local = replace(LAB, storage=replace(LAB.storage, shared=False))
    assert all(storage(host, local, owner="slipway", group="slipway") for host in local.hosts)
    paths = [r.path for r in storage(LAB.login, LAB, owner="slipway", group="slipway") if isinstance(r, Directory)]
    assert LAB.storage.path not in paths, "the storage's own folder is the site's"


def test_every_host_has_the_same_slurm_files_and_its_own_daemon() -> None:
    daemons = {}
    for host in LAB.hosts:
        resources = slurm(host, LAB)
        files = {r.path: r.content for r in resources if isinstance(r, File)}
        assert files == conf_files(LAB)
        assert all(r.guard for r in resources if isinstance(r, File))
        (unit,) = (r for r in resources if isinstance(r, Unit))
        daemons[host.name] = unit.name
        assert unit.reads == tuple(f"{hashlib.sha256(t.encode()).hexdigest()}  {p}" for p, t in files.items())
    assert daemons == {"login": "slurmctld.service", "dgx1": "slurmd.service", "dgx2": "slurmd.service"}


def test_a_changed_node_changes_the_fingerprint_on_every_host() -> None:
    small = replace(LAB.nodes[0], memory_mib=4096)
    other = replace(LAB, hosts=(LAB.login, small, LAB.nodes[1]))
    for host in LAB.hosts:
        (was,) = (r for r in slurm(host, LAB) if isinstance(r, Unit))
        (now,) = (r for r in slurm(host, other) if isinstance(r, Unit))
        assert was.fingerprint != now.fingerprint


@pytest.mark.parametrize(
    ("model", "wanted"),
    [("NVIDIA H200", "h200"), ("NVIDIA H100 80GB HBM3", "h100_80gb_hbm3"), ("stand-in", "stand_in"), ("NVIDIA", "gpu")],
)
def test_gpu_type(model: str, wanted: str) -> None:
    assert gpu_type(model) == wanted


def test_containers_are_for_nodes_of_fleets_that_say_so() -> None:
    said = replace(LAB, containers="podman", images="/mirror/images")
    assert [bool(containers.containers(host, said, "slipway")) for host in said.hosts] == [False, True, True]
    theirs = replace(said, slurm="existing")
    for fleet in (replace(LAB, containers=""), theirs):
        assert not any(containers.containers(host, fleet, "slipway") for host in fleet.hosts)
    checks = {host.name: [it.name for it in containers.podman(host, said, "slipway")] for host in said.hosts}
    assert checks == {"login": [], "dgx1": ["podman"], "dgx2": ["podman"]}
    assert [it.name for it in containers.podman(said.nodes[0], theirs, "me")] == ["podman", "podman-rootless"]


@pytest.mark.parametrize(
    ("images", "user", "archive", "log"),
    [
        ("/mirror/images", "slipway", f"/mirror/images/{DIGEST}.tar", f"/var/lib/slipway/images/{DIGEST}.log"),
        ("", "", "", f"/storage/.slipway/images/dgx1/{DIGEST}.log"),
    ],
)
def test_where_an_image_comes_from(images: str, user: str, archive: str, log: str) -> None:
    it = containers.image(LAB.host("dgx1"), replace(LAB, images=images), f"localhost/x@sha256:{DIGEST}", user)
    assert (it.archive, it.log, it.user) == (archive, log, user)


def test_an_image_that_nobody_built_is_refused() -> None:
    assert containers.built(f"localhost/x@sha256:{DIGEST}") == ()
    (found,) = containers.built(f"localhost/x@sha256:{'0' * 64}")
    assert found.name == "image-digest"


PODMANS: list[tuple[str, str, bool, str]] = [
    ("podman version 4.3.1", "", True, "ok"),
    ("podman version 4.10.0", "", False, "ok"),
    ("podman version 3.4.4", "", True, "Podman 3.4.4"),
    ("", "4.3.1+ds1-8+deb12u1", True, "ok"),
    ("", "3.4.4+ds1-1ubuntu1", True, "Podman 3.4.4+ds1-1ubuntu1 from apt"),
    ("", "4.9.3", False, "no Podman"),
]


@pytest.mark.parametrize(("version", "candidate", "from_apt", "says"), PODMANS)
def test_podman_is_new_enough(version: str, candidate: str, from_apt: bool, says: str, tmp_path: Path) -> None:
    programs = {"podman": version, "apt-cache": f"podman:\n  Installed: (none)\n  Candidate: {candidate}", "ls": ""}
    for name, prints in programs.items():
        if prints or name == "ls":
            (tmp_path / name).write_text(f"#!/bin/sh\ncat <<'E'\n{prints}\nE\n")
            (tmp_path / name).chmod(0o755)
    fleet = replace(LAB, containers="podman", slurm="ours" if from_apt else "existing")
    check = containers.podman(LAB.nodes[0], fleet, "me")[0].check
    for name in ("awk", "cat", "head", "sed", "sh", "sort"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    done = subprocess.run(
        ["/bin/bash", "-c", check], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == (says, "")


def test_an_environment_is_claimed_before_it_is_made() -> None:
    made = CondaEnv(
        prefix="/s/envs/v-1", digest="1", packages=(), inputs="/s/envs/v-1.inputs", tools="/s/envs/.tools/t"
    )
    claim = Claim(folder="/s/c", artifact="env-v-1", stack="lab", backend="b", holder="h")
    resources = environment(made, lock="l", requirements="r", tools="t", claim=claim)
    assert resources[0] is claim
    assert resources[-1] == replace(made, claim="/s/c/env-v-1/lab")
    assert {r.path.rpartition("/")[2]: r.content for r in resources if isinstance(r, File)} | {
        "install_env.py": ""
    } == {
        "conda.lock": "l",
        "requirements.txt": "r",
        "tools.txt": "t",
        "install_env.py": "",
    }


# --- checks, run for real ------------------------------------------------------------------------------------------


def run(required: Requirement, folder: Path, changed: Mapping[str, str] | None = None) -> str:
    """What a check prints with `folder` first on PATH; `changed` replaces paths of the machine by a test's own."""
    script = FUNCTIONS + required.check
    for old, new in (changed or {}).items():
        assert old in script
        script = script.replace(old, new)
    path = f"{folder}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], env={"PATH": path, "LC_ALL": "C.UTF-8"}, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1, f"a check prints one line, not {done.stdout!r}"
    return done.stdout.strip()


def named(all_of: tuple[Requirement, ...], name: str) -> Requirement:
    """The requirement of that name."""
    return next(required for required in all_of if required.name == name)


def program(folder: Path, name: str, text: str) -> None:
    """A command on PATH."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


GOOD = {
    "driver_version": "580.159.04",
    "name": "NVIDIA H200",
    "memory.total": "143771",
    "ecc.mode.current": "Enabled",
    "ecc.errors.uncorrected.volatile.total": "0",
    "mig.mode.current": "Disabled",
    "remapped_rows.pending": "No",
    "remapped_rows.failure": "No",
    "gpu_bus_id": "00000000:00:06.0",
    "fabric.state": "Completed",
    "fabric.status": "Success",
}
"""As a real H200 answers (reference/hardware/, and asked with these checks); the fabric as behind NVSwitches."""

FAKE_SMI = r"""#!/bin/sh
[ "$2" = --format=csv,noheader,nounits ] || exit 9
case $1 in
  --query-compute-apps=*) cat {folder}/apps ;;
  *) awk -F '\t' -v asked="${{1#*=}}" '
       {{ value[$1, $2] = $3; if ($1 > last) last = $1 }}
       END {{ count = split(asked, names, ",")
         for (gpu = 0; gpu <= last; gpu++) for (n = 1; n <= count; n++)
           printf "%s%s", value[gpu, names[n]], n < count ? ", " : "\n" }}' {folder}/gpus ;;
esac
"""


def smi(folder: Path, gpus: list[dict[str, str]] | str, apps: tuple[str, ...] = ()) -> Path:
    """A folder with an nvidia-smi that answers these values, or fails with this message."""
    if isinstance(gpus, str):
        program(folder / "bin", "nvidia-smi", f"#!/bin/sh\ncat <<'END'\n{gpus}\nEND\nexit 9\n")
        return folder / "bin"
    rows = (f"{n}\t{name}\t{value}\n" for n, gpu in enumerate(gpus) for name, value in {"index": str(n), **gpu}.items())
    (folder / "gpus").write_text("".join(rows))
    (folder / "apps").write_text("".join(f"{app}\n" for app in apps))
    program(folder / "bin", "nvidia-smi", FAKE_SMI.format(folder=folder))
    return folder / "bin"


H200 = requirements.gpus(replace(DGX.nodes[0], hcas=()), cuda="12.8")


def test_a_healthy_machine_passes_every_gpu_check(tmp_path: Path) -> None:
    folder = smi(tmp_path, [GOOD] * 8)
    program(folder, "journalctl", "#!/bin/sh\n")
    program(folder, "dmesg", "#!/bin/sh\n")
    assert {required.name: run(required, folder) for required in H200} == {required.name: "ok" for required in H200}


@pytest.mark.parametrize(
    ("name", "values", "found"),
    [
        ("driver", {"driver_version": "515.105.01"}, "driver 515.105.01"),
        ("driver", {"driver_version": "525.60.13"}, "ok"),
        (
            "gpus",
            {"name": "NVIDIA H100 80GB HBM3", "memory.total": "81559"},
            "GPU 7 is NVIDIA H100 80GB HBM3 of 81559 MiB",
        ),
        (
            "ecc",
            {"ecc.mode.current": "Disabled", "ecc.errors.uncorrected.volatile.total": "[N/A]"},
            "GPU 7 has ECC disabled",
        ),
        (
            "ecc",
            {"ecc.errors.uncorrected.volatile.total": "2"},
            "GPU 7 has 2 uncorrected errors since the driver was loaded",
        ),
        (
            "ecc",
            {"remapped_rows.pending": "Yes", "gpu_bus_id": "0:1"},
            "GPU 0:1 has rows to be remapped at its next reset",
        ),
        ("ecc", {"remapped_rows.failure": "Yes", "gpu_bus_id": "0:1"}, "GPU 0:1 failed to remap a row"),
        ("mig", {"mig.mode.current": "Enabled"}, "MIG on GPU 7"),
        ("mig", {"mig.mode.current": "[N/A]"}, "ok"),
        (
            "fabric-manager",
            {"fabric.state": "In Progress", "fabric.status": "N/A"},
            "GPU 7 in the fabric: In Progress, N/A",
        ),
        ("fabric-manager", {"fabric.state": "N/A", "fabric.status": "N/A"}, "ok"),
    ],
)
def test_one_gpu_that_is_not_well_is_named(name: str, values: dict[str, str], found: str, tmp_path: Path) -> None:
    one = [GOOD | values] if name == "driver" else [GOOD] * 7 + [GOOD | values]
    assert run(named(H200, name), smi(tmp_path, one)) == found


ACTIVE, DOWN = "4: ACTIVE", "1: DOWN"


@pytest.mark.parametrize(
    ("ports", "found"),
    [
        ({"mlx5_0": (ACTIVE, "InfiniBand"), "mlx5_3": (ACTIVE, "InfiniBand"), "mlx5_7": (DOWN, "Ethernet")}, "ok"),
        ({"mlx5_0": (ACTIVE, "InfiniBand")}, "no mlx5_3"),
        (
            {"mlx5_0": (ACTIVE, "InfiniBand"), "mlx5_3": (DOWN, "InfiniBand")},
            "mlx5_3 (InfiniBand, 400 Gb/sec (4X NDR)) is 1: DOWN",
        ),
        (
            {"mlx5_0": (ACTIVE, "InfiniBand"), "mlx5_3": (ACTIVE, "Ethernet")},
            "link layers InfiniBand Ethernet",
        ),
        ({}, "no mlx5_0; no mlx5_3"),
    ],
)
def test_hcas_are_there_and_active(ports: Mapping[str, tuple[str, str]], found: str, tmp_path: Path) -> None:
    for name, (state, layer) in ports.items():
        port = tmp_path / "infiniband" / name / "ports/1"
        port.mkdir(parents=True)
        for file, text in (("state", state), ("rate", "400 Gb/sec (4X NDR)"), ("link_layer", layer)):
            (port / file).write_text(f"{text}\n")
    host = replace(DGX.nodes[0], hcas=("mlx5_0", "mlx5_3"))
    check = named(requirements.gpus(host), "hcas")
    assert run(check, tmp_path, {"/sys/class/infiniband": str(tmp_path / "infiniband")}) == found


def test_a_host_without_hcas_is_not_asked_for_them() -> None:
    host = replace(DGX.nodes[0], hcas=())
    assert "hcas" not in {required.name for required in requirements.gpus(host)}


def test_the_interface_is_there(tmp_path: Path) -> None:
    def found(name: str) -> str:
        host = replace(LAB.login, interface=name)
        return run(named(requirements.machine(host, LAB), "interface"), tmp_path)

    assert found("lo") == "ok"
    assert found("none0").startswith("no interface none0, but ")
    assert " lo" in found("none0")


@pytest.mark.parametrize("name", ["driver", "gpus", "gpus-idle", "ecc", "mig", "fabric-manager"])
def test_a_driver_that_is_not_loaded_is_reported_in_its_own_words(name: str, tmp_path: Path) -> None:
    said = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
    assert run(named(H200, name), smi(tmp_path, said)) == f"nvidia-smi: {said}"


def test_missing_gpus_are_counted(tmp_path: Path) -> None:
    assert run(named(H200, "gpus"), smi(tmp_path, [GOOD] * 7)) == "7 GPUs"


def test_newer_cuda_needs_a_newer_driver(tmp_path: Path) -> None:
    folder = smi(tmp_path, [GOOD | {"driver_version": "575.57.08"}])
    assert run(named(requirements.gpus(DGX.nodes[0], cuda="13.0"), "driver"), folder) == "driver 575.57.08"
    assert run(named(requirements.gpus(DGX.nodes[0], cuda="12.8"), "driver"), folder) == "ok"


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, "pid {pid} (python) of {user}"),
        ({"SLIPWAY_STACK": "lab"}, "ok"),
        ({"SLURM_JOB_ID": "7"}, "ok"),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_process_on_a_gpu_is_ours_by_its_own_environment_or_an_ancestors(
    environment: dict[str, str], found: str, nested: bool, tmp_path: Path
) -> None:
    # a worker that sets its title loses its environment from /proc: here it starts with none
    command = "env -i sleep 60 & echo $!; wait" if nested else "echo $$; exec sleep 60"
    with subprocess.Popen(
        ["bash", "-c", command], env={"PATH": os.environ["PATH"]} | environment, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        try:
            folder = smi(tmp_path, [GOOD], apps=(f"{pid}, python", "999999999, gone"))
            owner = Path(f"/proc/{pid}").owner()
            assert run(named(H200, "gpus-idle"), folder) == found.format(pid=pid, user=owner)
        finally:
            os.killpg(process.pid, 15)


XID_79 = "NVRM: Xid (PCI:0000:1b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
XID_31 = "NVRM: Xid (PCI:0000:1b:00): 31, pid=4242, name=python, Ch 00000008, intr 00000000. MMU Fault"


@pytest.mark.parametrize(
    ("log", "found"),
    [([], "ok"), ([XID_31], "ok"), ([XID_31, XID_79], f"1 messages, the last: {XID_79.removeprefix('NVRM: ')}")],
)
@pytest.mark.parametrize("command", ["journalctl", "dmesg"])
def test_xids_of_a_sick_gpu_only(command: str, log: list[str], found: str, tmp_path: Path) -> None:
    for name in ("journalctl", "dmesg"):
        lines = "\n".join(log) if name == command else ""
        program(tmp_path, name, f"#!/bin/sh\ncat <<'END'\n{lines}\nEND\n")
    assert run(named(H200, "xid"), tmp_path) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n', "ok"),
        ('ID=ubuntu\nVERSION_ID="22.04"\n', "ok"),
        ('ID="rocky"\nVERSION_ID="9.5"\nPRETTY_NAME="Rocky Linux 9.5"\n', "Rocky Linux 9.5"),
        (None, "no /etc/os-release"),
    ],
)
def test_operating_system(text: str | None, found: str, tmp_path: Path) -> None:
    release = tmp_path / "os-release"
    if text is not None:
        release.write_text(text)
    check = named(requirements.machine(LAB.login, LAB), "os")
    script = check.check.replace(". /etc/os-release", f". {release}").replace("-r /etc/os-release", f"-r {release}")
    assert run(replace(check, check=script), tmp_path) == found


def test_somebody_elses_cluster_blocks_by_its_name(tmp_path: Path) -> None:
    conf, marker = tmp_path / "slurm.conf", tmp_path / "marker"
    check = named(requirements.machine(LAB.login, LAB), "cluster")
    places = {"/etc/slurm/slurm.conf": str(conf), owned_marker("/etc/slurm/slurm.conf"): str(marker)}
    assert run(check, tmp_path, places) == "ok"
    conf.write_text("# theirs\nclustername = discoverer   # ours since 2019\nSlurmctldHost=x\n")
    assert run(check, tmp_path, places) == f"the cluster discoverer, whose {conf} Slipway did not write"
    assert "slurm: existing" in check.fix
    assert "hosts/inventory/lab.yaml" in check.fix
    marker.touch()
    assert run(check, tmp_path, places) == "ok"


def test_a_running_daemon_with_a_file_of_its_own_is_somebody_elses(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    theirs = tmp_path / "theirs.conf"
    theirs.write_text("ClusterName=hpc1\n")
    check = named(requirements.machine(LAB.login, LAB), "cluster")
    places = {
        "/etc/slurm/slurm.conf": str(tmp_path / "none"),
        owned_marker("/etc/slurm/slurm.conf"): str(tmp_path / "m"),
    }
    open_to_all = Path(f"/tmp/slipway-test-{os.getpid()}")  # noqa: S108 - pytest's own folders are closed to others
    open_to_all.mkdir(mode=0o755)
    request.addfinalizer(lambda: shutil.rmtree(open_to_all))
    daemon = open_to_all / "slurmctld"
    daemon.write_bytes(Path("/bin/sleep").read_bytes())
    daemon.chmod(0o755)
    if os.getuid() != 0:
        pytest.skip("a daemon is root's or a system account's")
    for uid, found in (
        (0, "the cluster hpc1, whose slurmctld runs here (pid PID, CONF)"),
        (65534, "ok"),  # anybody may call a process so
    ):
        with subprocess.Popen([daemon, "60"], env={"SLURM_CONF": str(theirs)}, user=uid) as process:
            try:
                wanted = found.replace("PID", str(process.pid)).replace("CONF", str(theirs))
                assert run(check, tmp_path, places) == wanted
            finally:
                process.kill()


def test_a_munge_key_of_somebody_else_blocks(tmp_path: Path) -> None:
    key, marker = tmp_path / "munge.key", tmp_path / "marker"
    check = named(requirements.machine(LAB.login, LAB), "munge-key")
    places = {"/etc/munge/munge.key": str(key), owned_marker("/etc/munge/munge.key"): str(marker)}
    assert run(check, tmp_path, places) == "ok"
    key.touch()
    assert run(check, tmp_path, places) == f"{key}, which Slipway did not write"
    marker.touch()
    assert run(check, tmp_path, places) == "ok"


@pytest.mark.parametrize(
    ("installed", "candidate", "group", "found"),
    [
        ("", "22.05.8-4+deb12u3", "tmpfs", "ok"),
        ("", "21.08.5-2ubuntu1", "tmpfs", "ok"),
        ("", "21.08.5-2ubuntu1", "cgroup2fs", "slurmctld 21.08.5-2ubuntu1"),
        ("23.11.4-1.2ubuntu5", "", "cgroup2fs", "ok"),
        ("", "19.05.5-1", "tmpfs", "slurmctld 19.05.5-1"),
    ],
)
def test_slurm_packages(installed: str, candidate: str, group: str, found: str, tmp_path: Path) -> None:
    program(tmp_path, "stat", f"#!/bin/sh\necho {group}\n")
    program(tmp_path, "dpkg-query", f"#!/bin/sh\nprintf %s '{installed}'\n")
    program(
        tmp_path, "apt-cache", f"#!/bin/sh\nprintf 'slurmctld:\\n  Installed: (none)\\n  Candidate: {candidate}\\n'\n"
    )
    (tmp_path / "x_Packages").touch()
    check = named(requirements.machine(LAB.login, LAB), "slurm-packages")
    assert run(check, tmp_path, {"/var/lib/apt/lists/": f"{tmp_path}/"}) == found


def test_a_machine_smaller_than_declared_and_without_devices(tmp_path: Path) -> None:
    big = replace(LAB.nodes[0], cpus=100_000, gpus=Gpus(count=2, model="x", memory_mib=1, device=f"{tmp_path}/gpu"))
    checks = requirements.machine(big, LAB)
    assert run(named(checks, "size"), tmp_path).split(" CPUs")[0] == str(os.sysconf("SC_NPROCESSORS_ONLN"))
    assert run(named(checks, "gpu-devices"), tmp_path) == f"no {tmp_path}/gpu0 {tmp_path}/gpu1"
    there = replace(big, cpus=1, memory_mib=1, gpus=Gpus(count=1, model="x", memory_mib=1, device="/dev/tty"))
    assert run(named(requirements.machine(there, LAB), "size"), tmp_path) == "ok"


def test_disk(tmp_path: Path) -> None:
    def at(path: Path, free_gib: int = 0, counted: tuple[str, ...] = ()) -> str:
        fleet = replace(LAB, storage=replace(LAB.storage, path=str(path)))
        (required,) = requirements.disk(fleet, free_gib=free_gib, counted=counted)
        return run(required, tmp_path / "bin")

    there = tmp_path / "it's here"
    assert at(there) == f"no folder {there}"
    there.mkdir()
    assert at(there) == "ok"
    assert at(there, free_gib=1_000_000).endswith(f"GiB free in {there}, and 0 GiB there already")
    program(tmp_path / "bin", "df", "#!/bin/sh\nprintf 'F 1K U A\\nx 1 1 %s\\n' $((10 << 20))\n")
    program(tmp_path / "bin", "du", "#!/bin/sh\nprintf '%s\\tx\\n' $((90 << 20))\n")
    assert at(there, free_gib=99) == f"10 GiB free in {there}, and 0 GiB there already"
    assert at(there, free_gib=99, counted=(str(there),)) == "ok"


FOREIGN: list[tuple[str, int, int, int, str]] = [
    # what the folder above the storage is: mode, owner, group; what is found, of it
    ("ours", 0o755, 0, 0, "ok"),
    ("everybody's, as a scratch filesystem", 0o1777, 0, 0, "ok"),
    ("a project's", 0o2770, 0, 1, " is writable by the group daemon (mode 2770), whose members could replace what"),
    ("a project's with a sticky bit", 0o3770, 0, 1, "ok"),
    ("a stranger's", 0o755, 65534, 0, " is owned by nobody (mode 0755), wanted root"),
    ("a stranger's that is open to all", 0o777, 65534, 0, " is owned by nobody (mode 0777), wanted root"),
    ("ours, open to all", 0o777, 0, 0, " is writable by everybody (mode 0777), who could replace what is there"),
]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a folder away")
@pytest.mark.parametrize(("mode", "uid", "gid", "found"), [row[1:] for row in FOREIGN], ids=[row[0] for row in FOREIGN])
def test_storage_of_somebody_else(mode: int, uid: int, gid: int, found: str, tmp_path: Path) -> None:
    """The folder itself, and every one above it."""
    top = tmp_path / "top"
    (top / "eva").mkdir(parents=True)
    os.chown(top, uid, gid)
    top.chmod(mode)
    for path in (top, top / "eva"):
        fleet = replace(LAB, storage=replace(LAB.storage, path=str(path)))
        (required,) = requirements.disk(fleet)
        out = run(required, tmp_path)
        assert out == "ok" if found == "ok" else out.startswith(f"{top}{found}")


SITE = requirements.site(partition="gpu", nodes=2, gpus_per_node=8, account="", qos="", time="24:00:00")


def test_somebody_elses_slurm_without_its_commands(tmp_path: Path) -> None:
    (tmp_path / "bash").symlink_to("/bin/bash")
    check = named(SITE, "partition")
    done = subprocess.run(
        ["/bin/bash", "-c", check.check], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "no sinfo on this host\n"


@pytest.mark.parametrize(
    ("listing", "found"),
    [
        (["a idle gpu:h200:8(S:0-1) 900000 64 none", "b mixed gpu:8,gpu:h100:2 900000 64 none"], "ok"),
        (
            ["a idle gpu:h200:8 900000 64 none", "b drained gpu:h200:8 900000 64 bad", "c idle (null) 900000 64 none"],
            "1 of 3 nodes, 1 with fewer GPUs; b drained",
        ),
        (
            ["a idle gpu:h200:4 900000 64 none", "b down* gpu:h200:8 900000 64 dead"],
            "0 of 2 nodes, 1 with fewer GPUs; b down*",
        ),
        # what SLURM has, whatever /proc/meminfo and the fleet's file say
        (
            [
                "a idle gpu:h200:8 899999 64 none",
                "b idle gpu:h200:8 900000 63 none",
                "c idle gpu:h200:8 900000 64 none",
            ],
            "1 of 3 nodes, 2 with less memory or fewer CPUs",
        ),
    ],
)
def test_gpus_of_a_partition(listing: list[str], found: str, tmp_path: Path) -> None:
    lines = "\n".join("{:64}{:32}{:128}{:16}{:16}{}".format(*line.split(" ", 5)) for line in listing)
    program(tmp_path, "sinfo", f"#!/bin/sh\ncat <<'END'\n{lines}\nEND\n")
    check = named(
        requirements.site(partition="gpu", nodes=2, gpus_per_node=8, memory_mib=900000, cpus=64), "partition-gpus"
    )
    assert run(check, tmp_path) == found
    assert check.wanted == "2 nodes with 8 GPUs, 900000 MiB, 64 CPUs each in gpu, not down or drained"


def test_the_right_to_submit(tmp_path: Path) -> None:
    said = "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified"
    program(tmp_path, "sbatch", f"#!/bin/sh\necho \"$*\" >{tmp_path}/argv\necho '{said}' >&2\nexit 1\n")
    assert run(named(SITE, "submit"), tmp_path) == said
    argv = (tmp_path / "argv").read_text()
    assert argv == "--test-only --partition=gpu --time=24:00:00 --nodes=2 --gpus-per-node=8 --wrap=true\n"
    sized = requirements.site(
        partition="gpu", nodes=2, memory_mib=900000, cpus=64, constraint="h200", nodelist=("a", "b")
    )
    assert run(named(sized, "submit"), tmp_path) == said
    assert (tmp_path / "argv").read_text() == (
        "--test-only --partition=gpu --constraint=h200 --nodelist=a,b --nodes=2 --mem=900000M --cpus-per-task=64 "
        "--wrap=true\n"
    )
    program(tmp_path, "sbatch", "#!/bin/sh\necho 'sbatch: Job 7 to start at 2026-11-24T00:00:00' >&2\n")
    assert run(named(SITE, "submit"), tmp_path) == "ok"


@pytest.mark.parametrize(
    ("gres", "cpus", "found"),
    [
        ("gpu:h200:8", 4, "ok"),
        ("gpu:h200:4", 0, "ok"),
        ("gpu:h200:4", 4, "dgx1 with gpu:h200:4 and jobs"),
    ],
)
def test_gpus_do_not_change_under_running_jobs(gres: str, cpus: int, found: str, tmp_path: Path) -> None:
    lines = [f"NodeName=dgx{n} Arch=x86_64  CPUAlloc={c} CPUTot=224 Gres={g} NodeAddr=x" for n, c, g in
             ((1, cpus, gres), (11, 9, "gpu:h200:1"), (2, 9, "gpu:h200:8"))]  # fmt: skip
    text = "\n".join(lines)
    program(tmp_path, "scontrol", f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
    (check,) = (r for r in slurm(DGX.login, DGX) if isinstance(r, Requirement))
    assert run(check, tmp_path) == found
