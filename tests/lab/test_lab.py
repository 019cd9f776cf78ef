"""The lab's own life, on another machine made of namespaces: a lab that runs on this one is not touched."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from hosts.errors import InputError
from lab import ability, cgroups, host, image, lifecycle, locks, paths, processes
from lab.errors import LabFailed, LabRefused
from lab.processes import Process
from lab.progress import silent, speaker

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.uname().sysname != "Linux" or os.geteuid() != 0, reason="the lab needs root and Linux"),
    pytest.mark.skipif(host.systemd_is_init(), reason="needs the cgroup tree to itself; here systemd owns it"),
]
REPO = Path(__file__).parents[2]
GROUP = "slipway-lab-test"
UP = "from lab import nodes, progress; nodes.up(2, say=progress.speaker())"
DOWN = "from lab import nodes, progress; nodes.down(say=progress.speaker())"


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """A machine with its own network, mounts, /run, /sys and cgroup roots; the kernel and the disk are ours."""

    pid: int
    cache: Path

    def command(self, *argv: str) -> list[str]:
        groups = " ".join(str(mount / GROUP / "cgroup.procs") for mount in cgroups.hierarchies().values())
        enter = f'for group in {groups}; do echo $$ >"$group"; done; exec nsenter "$@"'
        return [
            "sh",
            "-c",
            enter,
            "sh",
            f"--target={self.pid}",
            "--net",
            "--mount",
            "--cgroup",
            f"--wdns={REPO}",
            *argv,
        ]

    def start(self, *argv: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "SLIPWAY_CACHE": str(self.cache), "PATH": host.PATH}
        return subprocess.Popen(
            self.command(*argv), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )

    def run(self, *argv: str) -> str:
        with self.start(*argv) as process:
            out, _ = process.communicate(timeout=100)
        assert process.returncode == 0, f"{argv} ended with {process.returncode}:\n{out}"
        return out

    def python(self, code: str) -> str:
        return self.run(sys.executable, "-c", code)

    def on(self, node: str, script: str) -> str:
        """What a script prints as root in a node, entered without SSH."""
        code = f"from lab import nodes; import sys; done = nodes.exec({node!r}, ['bash'], {'exec 2>&1;' + script!r})"
        return self.python(f"{code}; print(done.stdout, end=''); sys.exit(done.returncode)").strip()

    def status(self) -> dict[str, str]:
        return dict(
            line.split()
            for line in self.python(
                "from lab import nodes\nfor node in nodes.status(): print(node.name, node.state)"
            ).splitlines()
        )

    def leaders(self) -> dict[str, str]:
        return dict(
            line.split()
            for line in self.python("from lab import nodes\nfor n in nodes.status(): print(n.name, n.pid)").splitlines()
        )

    def path(self, name: str) -> Path:
        """A path of that machine, seen from here."""
        return Path(f"/proc/{self.pid}/root", name.lstrip("/"))

    def traces(self) -> str:
        """All that a lab could leave on a machine."""
        groups = [
            str(path)
            for mount in cgroups.hierarchies().values()
            for path in cgroups.groups(mount / GROUP)
            if path != mount / GROUP
        ]
        kept = ("proc", "mountinfo", "find")
        script = "cat /proc/self/mountinfo; ip -br link; ip -br addr; nft list ruleset; find /run | sort; iptables -S; "
        script += "cat /proc/sys/net/ipv4/ip_forward"
        return self.run("sh", "-c", script) + f"{sorted(groups)} {(self.cache / 'lab/run').exists()} {kept}"


def clean_up() -> None:
    """End what a killed test run left."""
    deadline = time.monotonic() + 20
    while left := [mount / GROUP for mount in cgroups.hierarchies().values() if (mount / GROUP).exists()]:
        assert time.monotonic() < deadline, f"still busy: {left}"
        for folder in left:
            cgroups.kill(folder)
            for group in cgroups.groups(folder):
                with suppress(OSError):
                    group.rmdir()
        time.sleep(0.05)
    shutil.rmtree(paths.cache() / "lab-test", ignore_errors=True)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    """The other machine, with this one's image in an otherwise empty cache."""
    made = image.prepare(speaker())
    clean_up()
    cache = paths.cache() / "lab-test"
    (cache / "lab").mkdir(parents=True)
    subprocess.run(["cp", "-al", made, cache / "lab"], check=True)
    mounts = []
    for name, mount in cgroups.hierarchies().items():
        (mount / GROUP).mkdir()
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if (mount / setting).exists():
                (mount / GROUP / setting).write_text((mount / setting).read_text())
        kind = "-t cgroup2" if not name else f"-t cgroup -o {'none,' * name.startswith('name=')}{name}"
        mounts.append(f"mkdir -p {mount}; mount -n {kind} cgroup {mount}")
    script = f"""set -e
        mount -n -t sysfs sysfs /sys; mount -n -t tmpfs tmpfs /sys/fs/cgroup; {"; ".join(mounts)}
        mount -n -t tmpfs tmpfs /run; ip link set lo up; echo 0 >/proc/sys/net/ipv4/ip_forward
        echo ready; exec sleep 3600"""
    groups = " ".join(str(mount / GROUP / "cgroup.procs") for mount in cgroups.hierarchies().values())
    enter = f'for group in {groups}; do echo $$ >"$group"; done; exec unshare -n -m -C --propagation private sh -c "$1"'
    with subprocess.Popen(["sh", "-c", enter, "sh", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        try:
            yield Elsewhere(pid=process.pid, cache=cache)
        finally:
            clean_up()


@pytest.fixture
def lab(elsewhere: Elsewhere) -> Elsewhere:
    """The other machine with `login` and `dgx1` up."""
    elsewhere.python(UP)
    return elsewhere


@pytest.fixture
def bare(elsewhere: Elsewhere) -> Elsewhere:
    """The other machine without a lab."""
    elsewhere.python(DOWN)
    return elsewhere


def ssh(lab: Elsewhere, address: str, *command: str, user: str = "ops", known: Path | None = None) -> tuple[int, str]:
    cache = lab.cache / "lab"
    argv = ["ssh", "-F", "none", "-i", str(cache / "id_ed25519"), "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]
    argv += ["-o", f"UserKnownHostsFile={known or cache / 'known_hosts'}", "-o", "StrictHostKeyChecking=yes"]
    with lab.start(*argv, f"{user}@{address}", *command) as process:
        out, _ = process.communicate(timeout=30)
    return process.returncode, out.strip()


def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def test_down_leaves_nothing(bare: Elsewhere) -> None:
    before = bare.traces()
    bare.python(UP)
    assert bare.traces() != before
    bare.python(DOWN)
    assert bare.traces() == before
    assert "nothing to do" in bare.python(DOWN)


def test_every_node_is_a_machine_of_its_own(lab: Elsewhere) -> None:
    for name, address in {"login": "10.77.0.11", "dgx1": "10.77.0.21"}.items():
        assert ssh(lab, address, "hostname && sudo -n id -u") == (0, f"{name}\n0")
        assert lab.on(name, "systemctl is-system-running; systemctl --failed --no-legend") == "running"
        assert ssh(lab, address, "true", user="root")[0] == 255
    assert lab.on("dgx1", "getent hosts login dgx2") == "10.77.0.11      login\n10.77.0.22      dgx2"
    assert lab.on("login", "cat /etc/machine-id") != lab.on("dgx1", "cat /etc/machine-id")
    assert lab.on("login", "ping -c1 -W2 dgx1 >/dev/null && echo reached") == "reached"
    pinned = (lab.cache / "lab/known_hosts").read_text().split()
    assert pinned[2] != pinned[5], "two nodes share a host key"


def test_a_node_that_shows_another_host_key_is_not_entered(lab: Elsewhere, tmp_path: Path) -> None:
    login, dgx1 = [line.split()[1:] for line in (lab.cache / "lab/known_hosts").read_text().splitlines()]
    (tmp_path / "known_hosts").write_text(f"10.77.0.11 {' '.join(dgx1)}\n10.77.0.21 {' '.join(login)}\n")
    code, said = ssh(lab, "10.77.0.21", "true", known=tmp_path / "known_hosts")
    assert code == 255
    assert "Host key verification failed" in said


def test_host_keys_and_storage_outlive_the_lab(lab: Elsewhere) -> None:
    pinned = (lab.cache / "lab/known_hosts").read_text()
    lab.on("dgx1", "echo kept >/storage/file; echo lost >/root/file")
    lab.python(DOWN)
    lab.python(UP)
    assert (lab.cache / "lab/known_hosts").read_text() == pinned
    assert lab.on("login", "cat /storage/file") == "kept"
    assert lab.on("dgx1", "ls /root") == ""


def test_up_again_does_nothing_in_two_seconds(lab: Elsewhere) -> None:
    before, began = lab.leaders(), time.monotonic()
    assert "nothing to do" in lab.python(UP)
    assert time.monotonic() - began < 2
    assert lab.leaders() == before


def test_more_nodes_are_added_beside_those_that_run(lab: Elsewhere) -> None:
    before = lab.leaders()
    lab.python(UP.replace("2,", "3,"))
    after = lab.leaders()
    assert set(after) == {"login", "dgx1", "dgx2"}
    assert before.items() <= after.items()
    assert "nothing to do" in lab.python(UP)
    assert set(lab.leaders()) == {"login", "dgx1", "dgx2"}
    lab.python(DOWN)


def test_gpus_are_devices_that_a_cgroup_can_contain(lab: Elsewhere) -> None:
    tried = """
        group=/sys/fs/cgroup/devices/test; mkdir $group; echo 'c 240:3 rwm' >$group/devices.deny
        sh -c "echo \\$\\$ >$group/cgroup.procs; exec 3</dev/slipway-gpu3"
        sh -c "echo \\$\\$ >$group/cgroup.procs; exec 3</dev/slipway-gpu4"
        rmdir $group; ls /dev/slipway-gpu* | wc -l"""
    said = lab.on("dgx1", tried).splitlines()
    assert "slipway-gpu3: Operation not permitted" in said[0]
    assert "slipway-gpu4: No such device or address" in said[1]  # let through, and no driver answers
    assert said[2] == "8"
    assert lab.on("login", "ls /dev/slipway-gpu* 2>/dev/null | wc -l") == "0"


def test_nodes_do_not_share_cgroups(lab: Elsewhere) -> None:
    lab.on("login", "for c in freezer memory cpuset devices; do mkdir /sys/fs/cgroup/$c/mine; done")
    assert lab.on("dgx1", "ls -d /sys/fs/cgroup/*/mine 2>/dev/null | wc -l") == "0"
    lab.on("login", "rmdir /sys/fs/cgroup/*/mine")


def test_kernel_settings_of_the_machine_are_out_of_a_node_s_reach(lab: Elsewhere) -> None:
    before = Path("/proc/sys/vm/max_map_count").read_text()
    assert lab.on("dgx1", "sysctl -q -w vm.max_map_count=424242; sysctl -n vm.max_map_count") == "424242"
    assert lab.on("dgx1", "sysctl -q -w net.ipv4.tcp_retries2=7; sysctl -n net.ipv4.tcp_retries2") == "7"
    assert lab.on("login", "sysctl -n vm.max_map_count") == before.strip() == "65530"
    assert Path("/proc/sys/vm/max_map_count").read_text() == before


@pytest.mark.parametrize("policy", ["ACCEPT", "DROP"])
def test_nodes_reach_out_under_the_machine_s_address(bare: Elsewhere, policy: str) -> None:
    """Also where forwarding is dropped unless told otherwise, as on a machine with Docker."""
    if host.which("iptables"):
        bare.run("iptables", "-P", "FORWARD", policy)
    elif policy == "DROP":
        pytest.skip("this machine has no iptables")
    before = bare.traces()
    bare.python(UP)
    with bare.start("unshare", "-n", "sh", "-c", "ip link set lo up; exec sleep 60") as outside:
        until(lambda: Path(f"/proc/{outside.pid}/comm").read_text() == "sleep\n")
        bare.run("ip", "link", "add", "wan", "type", "veth", "peer", "name", "wan", "netns", str(outside.pid))
        bare.run("sh", "-c", "ip address add 192.0.2.1/24 dev wan; ip link set wan up")
        beyond = ["nsenter", f"--target={outside.pid}", "--net", "sh", "-c"]
        bare.run(*beyond, "ip address add 192.0.2.2/24 dev wan; ip link set wan up")
        # That side has no route back to the nodes' network: an answer comes only to the machine's own address.
        assert bare.on("dgx1", "ping -c1 -W5 192.0.2.2 >/dev/null && echo reached") == "reached"
        assert bare.on("dgx1", "ping -c1 -W5 login >/dev/null && echo reached") == "reached"
        outside.kill()
    until(lambda: "wan" not in bare.run("ip", "-br", "link"))
    bare.python(DOWN)
    assert bare.traces() == before
    if policy == "DROP":
        bare.run("iptables", "-P", "FORWARD", "ACCEPT")


def test_a_cut_node_is_seen_and_healed(lab: Elsewhere) -> None:
    lab.python("from lab import nodes; nodes.cut('dgx1')")
    assert lab.status() == {"login": "up", "dgx1": "cut"}
    assert lab.on("dgx1", "ping -c1 -W1 login >/dev/null || echo alone") == "alone"
    lab.python("from lab import nodes; nodes.heal('dgx1')")
    assert lab.status() == {"login": "up", "dgx1": "up"}
    lab.python("from lab import nodes; nodes.cut('dgx1')")
    lab.python(UP)
    assert lab.status() == {"login": "up", "dgx1": "up"}


@pytest.mark.parametrize("how", ["nodes.reboot('dgx1')", "nodes.reboot('dgx1', hard=True)"])
def test_a_reboot_keeps_the_disk_and_loses_the_rest(lab: Elsewhere, how: str) -> None:
    lab.on("dgx1", "touch /root/kept /run/lost /tmp/lost; rm /dev/slipway-gpu0")
    boot = lab.on("dgx1", "cat /proc/sys/kernel/random/boot_id")
    lab.python(f"from lab import nodes; {how}")
    assert lab.on("dgx1", "cat /proc/sys/kernel/random/boot_id") != boot
    assert (
        lab.on("dgx1", "ls /root/kept /run/lost /tmp/lost 2>/dev/null; ls /dev/slipway-gpu* | wc -l") == "/root/kept\n8"
    )
    assert lab.on("dgx1", "systemctl is-system-running; systemctl --failed --no-legend") == "running"
    lab.on("dgx1", "rm /root/kept")


def test_a_node_whose_keeper_died_is_started_again_with_its_disk(lab: Elsewhere) -> None:
    lab.on("dgx1", "touch /root/kept")
    keeper = processes.recorded(lab.path("/run/slipway-lab/dgx1.pid"))
    assert keeper
    keeper.kill()
    until(lambda: lab.status()["dgx1"] == "stopped")
    lab.python(UP)
    assert lab.status() == {"login": "up", "dgx1": "up"}
    assert lab.on("dgx1", "ls /root") == "kept"


KILLED_WHEN: dict[str, Callable[[Elsewhere], bool]] = {
    "the state is noted": lambda lab: lab.path("/run/slipway-lab/lab.json").exists(),
    "a disk is half made": lambda lab: (lab.cache / "lab/run/login/upper/etc").exists(),
    "a node starts": lambda lab: lab.path("/run/slipway-lab/dgx1.pid").exists(),
    "a node answers": lambda lab: "login" in lab.status() and lab.status()["login"] == "up",
}


@pytest.mark.parametrize("moment", KILLED_WHEN)
def test_up_goes_on_after_a_kill(bare: Elsewhere, moment: str) -> None:
    before = bare.traces()
    with bare.start(sys.executable, "-c", UP) as process:
        until(lambda: KILLED_WHEN[moment](bare))
        process.kill()
    bare.python(UP)
    assert bare.status() == {"login": "up", "dgx1": "up"}
    assert ssh(bare, "10.77.0.21", "sudo -n true") == (0, "")
    bare.python(DOWN)
    assert bare.traces() == before


@pytest.mark.parametrize("then", [UP, DOWN])
def test_what_a_killed_down_began_is_finished(bare: Elsewhere, then: str) -> None:
    before = bare.traces()
    bare.python(UP)
    bare.on("dgx1", "touch /root/old")
    with bare.start(sys.executable, "-c", DOWN) as process:
        until(lambda: not bare.path("/run/slipway-lab/login.pid").exists())
        process.kill()
    bare.python(then)
    if then == UP:
        assert bare.on("dgx1", "ls /root") == "", "a lab that was taken down came back with its old disks"
        bare.python(DOWN)
    assert bare.traces() == before


def test_a_node_holds_nothing_of_what_started_it(bare: Elsewhere) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        os.set_inheritable(theirs.fileno(), True)
        code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {UP!r}], close_fds=False, check=True)"
        process = subprocess.Popen(
            bare.command(sys.executable, "-c", code), pass_fds=[theirs.fileno()], stdout=subprocess.DEVNULL,
            env={**os.environ, "SLIPWAY_CACHE": str(bare.cache), "PATH": host.PATH},
        )  # fmt: skip
        assert process.wait(timeout=100) == 0
        theirs.close()
        ours.settimeout(5)
        assert ours.recv(1) == b"", "a node still holds the other end"
    assert bare.status() == {"login": "up", "dgx1": "up"}


def test_one_lab_command_at_a_time(lab: Elsewhere) -> None:
    with lab.start(sys.executable, "-c", DOWN) as down, lab.start(sys.executable, "-c", UP) as up:
        said = up.communicate(timeout=100)[0] + down.communicate(timeout=100)[0]
    assert (up.returncode, down.returncode) == (0, 0), said


def test_another_cache_s_lab_is_left_alone(lab: Elsewhere, tmp_path: Path) -> None:
    for code in (UP, DOWN):
        with lab.start("env", f"SLIPWAY_CACHE={tmp_path}", sys.executable, "-c", code) as process:
            said, _ = process.communicate(timeout=100)
        assert process.returncode == 1
        assert f"found it up from the cache {lab.cache}" in said
    assert lab.status() == {"login": "up", "dgx1": "up"}


def test_another_number_of_gpus_is_refused_for_nodes_that_are_there(lab: Elsewhere) -> None:
    with lab.start(sys.executable, "-c", UP.replace("2,", "2, gpus=4,")) as process:
        said, _ = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "dgx1 has 8 GPU stand-ins, wanted 4; run `invoke lab.down` first" in said


def test_purge_empties_the_cache(lab: Elsewhere) -> None:
    kept = lab.cache / "kept-image"
    (made,) = (lab.cache / "lab").glob("image-*")
    subprocess.run(["cp", "-al", made, kept], check=True)
    lab.python(DOWN.replace("down(", "down(purge=True, "))
    assert not (lab.cache / "lab").exists()
    (lab.cache / "lab").mkdir()
    kept.rename(lab.cache / "lab" / made.name)


@pytest.mark.parametrize(("nodes", "gpus"), [(0, None), (10, None), (3, 0), (3, 17)])
def test_numbers_that_no_lab_can_have(nodes: int, gpus: int | None) -> None:
    with pytest.raises(InputError, match=r"found (0|10|17), wanted 1 to (9|16)"):
        lifecycle.refuse_numbers(nodes, gpus)


def test_only_root_gets_a_lab() -> None:
    os.seteuid(65534)
    try:
        with pytest.raises(LabRefused, match="the lab needs root, found user id 65534"):
            ability.refuse_unless_able()
    finally:
        os.seteuid(0)


def test_a_cache_that_cannot_hold_disks_is_refused(elsewhere: Elsewhere) -> None:
    """An overlay cannot lie over another one: so it is in most containers."""
    folder = elsewhere.cache / "overlay"
    folder.mkdir()
    script = f"""cd '{folder}'; mkdir lower upper work root
        mount -n -t overlay x -o lowerdir=lower,upperdir=upper,workdir=work root
        SLIPWAY_CACHE='{folder}/root/cache' exec {sys.executable} -c '{UP}'"""
    with elsewhere.start("unshare", "-m", "sh", "-c", script) as process:
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"{folder}/root/cache/lab cannot hold an overlay" in said
    assert "set SLIPWAY_CACHE to another disk" in said


def test_a_cache_whose_name_no_mount_can_hold_is_refused(elsewhere: Elsewhere) -> None:
    with elsewhere.start("env", f"SLIPWAY_CACHE={elsewhere.cache}/a,b: c", sys.executable, "-c", UP) as process:
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"cache: found ' ' ',' ':' in {elsewhere.cache}/a,b: c, wanted a path without" in said


def test_a_tree_with_a_mount_inside_is_not_deleted(elsewhere: Elsewhere) -> None:
    folder = elsewhere.cache / "with-mount"
    (folder / "inside").mkdir(parents=True)
    script = f"mount -n -t tmpfs tmpfs '{folder}/inside'; exec {sys.executable} -c \"$1\""
    code = f"from pathlib import Path; from lab import image; image.remove_tree(Path({str(folder)!r}))"
    with elsewhere.start("unshare", "-m", "sh", "-c", script, "sh", code) as process:
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"found {folder}/inside mounted inside" in said
    assert (folder / "inside").exists()


def test_a_followed_command_dies_with_us(tmp_path: Path) -> None:
    code = f"from lab import host; host.follow(['sh', '-c', 'echo $$ >{tmp_path}/pid; exec sleep 300'], print)"
    with subprocess.Popen([sys.executable, "-c", code], cwd=REPO) as process:
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"))
        child = int((tmp_path / "pid").read_text())
        found = processes.stat(child)
        assert found
        process.send_signal(signal.SIGKILL)
    until(lambda: not Process(pid=child, started=found[1]).alive())


def test_a_failed_command_shows_its_last_lines() -> None:
    with pytest.raises(LabFailed, match=r"(?s)`sh -c .*` ended with 3:\n    12\n.*\n    21$"):
        host.run(["sh", "-c", "seq 21; exit 3"])


def test_a_number_that_is_another_s_now_is_not_ended() -> None:
    with subprocess.Popen(["sleep", "30"]) as child:
        found = processes.stat(child.pid)
        assert found
        Process(pid=child.pid, started=found[1] - 1).kill()
        assert Process(pid=child.pid, started=found[1]).alive()
        Process(pid=child.pid, started=found[1]).kill()
        assert child.wait(timeout=5) == -signal.SIGKILL


def test_a_lock_is_passed_on_when_its_file_was_deleted(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with locks.held(lock, silent):
        lock.unlink()
        with locks.held(lock, silent):
            assert lock.read_text() == str(os.getpid())
