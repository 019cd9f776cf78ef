"""What enroll reads from real output, and how it merges that with what a person wrote."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hosts.connection import Connect, HostKey
from hosts.errors import Blocked, InputError, SlipwayError, Unreachable
from hosts.facts import Facts, Gpu, facts, parse_addresses, parse_gpus, rails, read, script
from hosts.fleet import Fleet, Host, dump, parse
from hosts.schema import parse_yaml
from hosts.shell import Frame, token_of
from infra.operate.enroll import enroll
from infra.operate.fleet_file import Data, Machine, Request, Target, differences, merge, summary

DATA = Path(__file__).parent / "data"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAWSgu6uTehWyLcZ8YBlqKEDmoDKU39jwQqz74bIM8Mb"
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE+BhOaemtQfNo+YBlqKEDmoDKU39jwQqz74bIM8Mc"
TWO = (
    "0, NVIDIA H200, 143771, 580.159.04, Disabled, Enabled, 00000000:00:06.0\n"
    "1, NVIDIA H200, 143771, 580.159.04, Disabled, Enabled, 00000000:00:07.0\n"
)
"""The two GPUs of reference/hardware/h200-two-gpus.txt, as enroll's own query has them."""

MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.159\n"
NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    "Make sure that the latest NVIDIA driver is installed and running.\n\n"
)


def h200(**changed: object) -> Facts:
    """What the machine with one H200 said to the script of enroll (2026-11-24)."""
    said = json.loads((DATA / "h200-facts.json").read_text(encoding="utf-8"))
    found = facts({name: Frame(**frame) for name, frame in said.items()})
    return replace(found, **changed)  # type: ignore[arg-type]


def machine(
    found: Facts, *, address: str = "10.0.0.21", login: bool = False, known: str = "", pinned: str = ""
) -> Machine:
    """A machine that was read, with KEY as its key."""
    host = Host(name=known or address, address=address, user="ops", sudo=False)
    return Machine(
        target=Target(host=host, name="", known=known, login=login),
        key=HostKey(pin=KEY, fingerprint="SHA256:x", pinned=pinned),
        facts=found,
    )


def asked(**changed: str) -> Request:
    """A request for a new fleet."""
    words: dict[str, str] = {"storage": "/shared"} | changed
    return Request(fleet="f", hosts=("10.0.0.21",), default_user="ops", **words)  # type: ignore[arg-type]


def test_reads_a_real_h200() -> None:
    found = h200()
    assert (found.hostname, found.os, found.cpus, found.sockets, found.threads_per_core) == (
        "vm",
        "Ubuntu 24.04.3 LTS",
        16,
        1,
        1,
    )
    assert (found.memory_mib, found.numa_nodes, found.amx, found.gpus_on_bus) == (128887, 1, True, 1)
    wanted = Gpu(
        index=0,
        name="NVIDIA H200",
        memory_mib=143771,
        driver="580.159.04",
        mig="Disabled",
        ecc="Enabled",
        bus="00000000:00:06.0",
    )
    assert found.gpus == (wanted,)
    assert found.gpu_trouble == ""
    assert found.storage is not None
    assert (found.storage.at, found.storage.kind, found.storage.network) == ("/", "ext4", False)
    assert [(disk.name, disk.size_bytes) for disk in found.disks] == [("vda", 274877906944), ("vdb", 318332928)]
    assert found.root
    assert found.addresses == {}, "there was no `ip`"
    assert "1 x NVIDIA H200 of 143771 MiB, driver 580.159.04" in summary(found)


@pytest.mark.parametrize(
    ("out", "status", "count", "trouble"),
    [
        (TWO, 0, 2, ""),
        ("", 127, 0, ""),
        ("No devices were found\n", 6, 0, ""),
        (MISMATCH, 18, 0, "version mismatch"),
        (NO_DRIVER, 9, 0, "couldn't communicate"),
        ("Unable to determine the device handle for GPU0000:5D:00.0: Unknown Error\n" + TWO, 0, 2, "GPU0000:5D:00.0"),
        ("0, NVIDIA H200, [Unknown Error], 580.159.04, Disabled, Enabled, 00000000:00:06.0\n", 0, 0, "Unknown Error"),
        ("", 124, 0, "60 s"),
        ("", 1, 0, "ended with 1"),
    ],
)
def test_gpus(out: str, status: int, count: int, trouble: str) -> None:
    gpus, said = parse_gpus(Frame(out=out, status=status))
    assert len(gpus) == count
    assert trouble in said
    assert bool(trouble) == bool(said)


def test_names_of_hardware_do_not_command_the_terminal() -> None:
    """They go to the report, the fleet file and SLURM's configuration; a name can't make a second GPU either."""
    asked = script("/shared")
    mark = f"\x1e{token_of(asked)} "
    said = json.loads((DATA / "h200-facts.json").read_text(encoding="utf-8"))
    gpu = TWO.splitlines()[0].replace("H200", "H200\x1b[2J\x85\u2028")
    said["gpus"] = {"out": f"{gpu}\n", "status": 0}
    frames = "".join(
        f"{mark}{n}\n{frame['out']}\n{mark}{n}={frame['status']}\n" for n, frame in enumerate(said.values())
    )
    found = read("/shared", asked, f"{frames}{mark}end\n")
    assert found is not None
    assert [gpu.name for gpu in found.gpus] == ["NVIDIA H200\\x1b[2J\\x85\\u2028"]


def test_mig_is_read() -> None:
    gpus, trouble = parse_gpus(Frame(out=TWO.replace("Disabled", "Enabled", 1), status=0))
    assert [gpu.mig for gpu in gpus] == ["Enabled", "Disabled"]
    assert trouble == ""


def test_addresses() -> None:
    """As iproute2 6.1 prints them in the lab; a veth's peer is no part of its name."""
    text = (
        "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever\n"
        "2: host0@if7    inet 10.77.0.21/24 brd 10.77.0.255 scope global host0\\       valid_lft forever\n"
        "2: host0@if7    inet6 fe80::1/64 scope link \\       valid_lft forever\n"
    )
    assert parse_addresses(text) == {"lo": ("127.0.0.1",), "host0": ("10.77.0.21", "fe80::1")}


def test_an_answer_cut_short_is_no_answer() -> None:
    asked = script("/shared")
    assert read("/shared", asked, "banner\n") is None
    assert "nvidia-smi" in asked


def loads(document: Data) -> None:
    """The document as a file is a fleet."""
    text = dump(document)
    assert parse_yaml(text) == document
    parse("f", parse_yaml(text), "f.yaml")


def login_and_node() -> list[Machine]:
    """Two machines as read: one without GPUs, and one H200."""
    login = h200(hostname="login", gpus=(), gpus_on_bus=0)
    return [machine(login, address="10.0.0.11"), machine(h200(hostname="dgx1"))]


def test_a_new_fleet() -> None:
    document, notes = merge(None, asked(), login_and_node())
    loads(document)
    assert document["slurm"] == "ours"
    assert document["hosts"]["login"]["role"] == "login"
    assert document["hosts"]["dgx1"] == {
        "address": "10.0.0.21",
        "user": "ops",
        "sudo": False,
        "host_key": KEY,
        "cpus": 16,
        "sockets": 1,
        "threads_per_core": 1,
        "memory_mib": 125952,
        "gpus": {"count": 1, "model": "NVIDIA H200", "memory_mib": 143771},
    }
    assert any("ext4" in note for note in notes)


SWITCHES = "/sys/devices/pci0000:15/0000:15:01.0/0000:16:00.0/0000:17:0"
PORT = "{0}|1|{1}|{2} Gb/sec (4X NDR)|{3}|{4}\n"
DGX_PORTS = "".join(
    PORT.format(*row)
    for row in (
        ("mlx5_0", "4: ACTIVE", 400, "InfiniBand", SWITCHES + "0.0/0000:18:00.0"),
        ("mlx5_1", "4: ACTIVE", 400, "InfiniBand", "/sys/devices/pci0000:20/0000:20:01.0/0000:21:00.0"),
        ("mlx5_10", "4: ACTIVE", 400, "InfiniBand", SWITCHES + "1.0/0000:19:00.0"),
        ("mlx5_2", "4: ACTIVE", 100, "Ethernet", "/sys/devices/pci0000:20/0000:20:01.0/0000:21:00.1"),
        ("mlx5_3", "4: ACTIVE", 400, "InfiniBand", SWITCHES + "2.0/0000:1a:00.0"),
        ("mlx5_4", "1: DOWN", 400, "InfiniBand", SWITCHES + "3.0/0000:1b:00.0"),
    )
)
"""Ports as sysfs has them, a rail behind each GPU's switch, and storage at root ports of its own."""


def with_ports(bus: str, ports: str = DGX_PORTS) -> Facts:
    """The H200, with HCAs and GPUs where they are told to be."""
    said = json.loads((DATA / "h200-facts.json").read_text(encoding="utf-8"))
    said |= {"bus": {"status": 0, "out": bus}, "hcas": {"status": 0, "out": ports}}
    return facts({name: Frame(**frame) for name, frame in said.items()})


@pytest.mark.parametrize(
    ("bus", "ports", "expected"),
    [
        (f"0x030200 {SWITCHES}4.0/0000:1c:00.0\n", DGX_PORTS, (("mlx5_0", "mlx5_3", "mlx5_10"), True)),
        # a virtual machine's devices hang on its root complex, each at its own place
        (
            "0x030200 /sys/devices/pci0000:00/0000:00:06.0\n",
            DGX_PORTS,
            (("mlx5_0", "mlx5_1", "mlx5_3", "mlx5_10"), False),
        ),
        ("0x068000 " + SWITCHES + "4.0/0000:1c:00.0\n", DGX_PORTS, (("mlx5_0", "mlx5_1", "mlx5_3", "mlx5_10"), False)),
        ("0x030200\n", DGX_PORTS.replace("/sys/devices", ""), (("mlx5_0", "mlx5_1", "mlx5_3", "mlx5_10"), False)),
        ("0x030200\n", "", ((), False)),
        # a rail that is down is none, and storage does not become one
        (f"0x030200 {SWITCHES}4.0/0000:1c:00.0\n", DGX_PORTS.replace("4: ACTIVE|400", "1: DOWN|400"), ((), True)),
        ("0x030200\n", "mlx5_0|1|4: ACTIVE|25 Gb/sec (1X EDR)|Ethernet\n", ((), False)),
    ],
)
def test_compute_rails_hang_on_the_gpus_switches(bus: str, ports: str, expected: tuple[tuple[str, ...], bool]) -> None:
    found = with_ports(bus, ports)
    assert rails(found) == expected
    assert found.gpus_on_bus == ("0x03" in bus)


def test_rails_are_written_once_and_a_persons_stay() -> None:
    certain, guessed = with_ports(f"0x030200 {SWITCHES}4.0/0000:1c:00.0\n"), with_ports("0x030200\n")
    document, notes = merge(None, asked(slurm="none"), [machine(certain)])
    loads(document)
    assert document["hosts"]["vm"]["hcas"] == ["mlx5_0", "mlx5_3", "mlx5_10"]
    assert not any(note.startswith("vm: hcas") for note in notes)
    document, notes = merge(None, asked(slurm="none"), [machine(guessed)])
    assert document["hosts"]["vm"]["hcas"] == ["mlx5_0", "mlx5_1", "mlx5_3", "mlx5_10"]
    assert any("if one leads to storage, delete it from the list" in note for note in notes)
    for hcas in ([], ["mlx5_3"]):
        document["hosts"]["vm"]["hcas"] = hcas
        kept, notes = merge(document, asked(), [machine(certain, known="vm", pinned=KEY)])
        assert kept["hosts"]["vm"]["hcas"] == hcas
        assert any(f"hcas: {', '.join(hcas) or 'none'} kept, the compute rails are mlx5_0" in n for n in notes)
    document["hosts"]["vm"]["hcas"] = ["mlx5_9"]
    taken, _ = merge(document, asked(), [machine(certain, known="vm", pinned=KEY)])
    assert list(differences(document, taken)) == ["~ hosts.vm.hcas: mlx5_9 → mlx5_0, mlx5_3, mlx5_10"]


def test_again_changes_nothing() -> None:
    first, _ = merge(None, asked(), login_and_node())
    again, _ = merge(first, asked(), login_and_node())
    assert again == first
    assert list(differences(first, again)) == []


def test_a_person_is_kept_and_changes_are_shown() -> None:
    existing, _ = merge(None, asked(), login_and_node())
    existing |= {"price_per_gpu_hour": "2.50", "partition": "big"}
    existing["hosts"]["dgx1"] |= {"memory_mib": 64000, "cpus": 8}
    gpus = h200().gpus * 2
    document, notes = merge(
        existing, asked(storage=""), [machine(h200(hostname="dgx1", gpus=gpus), known="dgx1", pinned=KEY)]
    )
    loads(document)
    assert (document["price_per_gpu_hour"], document["partition"]) == ("2.50", "big")
    assert (document["hosts"]["dgx1"]["memory_mib"], document["hosts"]["dgx1"]["cpus"]) == (64000, 8)
    assert list(differences(existing, document)) == ["~ hosts.dgx1.gpus.count: 1 → 2"]
    assert any("memory_mib: 64000 kept, the machine has 128887" in note for note in notes)


def test_more_than_the_machine_has_is_corrected() -> None:
    existing, _ = merge(None, asked(), login_and_node())
    existing["hosts"]["dgx1"] |= {"memory_mib": 2_000_000, "cpus": 224}
    document, _ = merge(existing, asked(), [machine(h200(hostname="dgx1"), known="dgx1", pinned=KEY)])
    assert "~ hosts.dgx1.cpus: 224 → 16" in list(differences(existing, document))
    assert document["hosts"]["dgx1"]["memory_mib"] == 125952


def test_a_key_in_known_hosts_is_not_repeated() -> None:
    document, _ = merge(None, asked(slurm="none"), [machine(h200(), pinned=KEY)])
    assert "host_key" not in document["hosts"]["vm"]


def test_the_examples_give_way() -> None:
    """The committed example pins keys that say that they are made up; its settings stay."""
    path = Path(__file__).parents[2] / "hosts/inventory/dgx-h200.yaml"
    existing = parse_yaml(path.read_text(encoding="utf-8"))
    assert isinstance(existing, dict)
    if "192.0.2." not in str(existing):
        pytest.skip("this checkout enrolled machines of its own there")
    document, _ = merge(existing, asked(storage=""), login_and_node())
    loads(document)
    assert [entry["address"] for entry in document["hosts"].values()] == ["10.0.0.11", "10.0.0.21"]
    assert document["storage"]["path"] == "/shared/slipway"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (
            {"gpus": (), "gpu_trouble": "nvidia-smi says: Driver/library version mismatch"},
            "version mismatch; mend the driver",
        ),
        ({"gpus": ()}, "1 NVIDIA GPUs on the PCI bus, and nvidia-smi shows none"),
        ({"gpus": (h200().gpus[0], replace(h200().gpus[0], name="NVIDIA L4", memory_mib=23034))}, "several kinds"),
        ({"hostname": "DGX_1"}, "hostname is 'DGX_1'"),
        (
            {"root": False, "sudo": "sudo: a password is required"},
            "no sudo without a password (sudo: a password is required)",
        ),
        ({"memory_mib": 0}, "does not say"),
    ],
)
def test_refusals(changed: dict[str, object], reason: str) -> None:
    with pytest.raises(Blocked) as caught:
        merge(None, asked(), [login_and_node()[0], machine(h200(**changed))])
    assert reason in str(caught.value)
    assert len(caught.value.reasons) == 1


def test_gpus_that_are_gone_are_not_forgotten() -> None:
    existing, _ = merge(None, asked(), login_and_node())
    gone = h200(hostname="dgx1", gpus=(), gpus_on_bus=0)
    with pytest.raises(Blocked, match="the file gives it GPUs and it shows none"):
        merge(existing, asked(), [machine(gone, known="dgx1", pinned=KEY)])


def test_names_that_clash() -> None:
    existing, _ = merge(None, asked(), login_and_node())
    with pytest.raises(Blocked, match="the file has this address as dgx1"):
        merge(existing, asked(), [machine(h200(hostname="dgx9"), known="dgx1", pinned=KEY)])
    existing["hosts"]["dgx1"]["host_key"] = OTHER_KEY
    with pytest.raises(Blocked, match=r"say so: dgx1=10\.0\.0\.99"):
        merge(existing, asked(), [machine(h200(hostname="dgx1"), address="10.0.0.99")])
    twins = [machine(h200(), address="10.0.0.1", login=True), machine(h200(), address="10.0.0.2")]
    with pytest.raises(Blocked, match=r"10\.0\.0\.1 and 10\.0\.0\.2 all have this hostname"):
        merge(None, asked(), twins)


def test_no_login_host() -> None:
    with pytest.raises(Blocked, match="add --login HOST"):
        merge(None, asked(), [machine(h200(hostname="dgx1"))])


def test_mig_ecc_and_a_lost_gpu_are_noted() -> None:
    gpu = replace(h200().gpus[0], mig="Enabled", ecc="Disabled")
    _, notes = merge(None, asked(slurm="none"), [machine(h200(gpus=(gpu,), gpus_on_bus=2))])
    text = "\n".join(notes)
    assert "vm: MIG is on, on GPU 0" in text
    assert "vm: ECC is off, on GPU 0" in text
    assert "vm: 1 of 2 GPUs on the PCI bus are missing" in text


def test_stand_ins_say_so() -> None:
    login, node = login_and_node()
    lab = replace(node, facts=replace(node.facts, gpus=(), gpus_on_bus=0, stand_ins=8))
    document, _ = merge(None, asked(), [login, lab])
    loads(document)
    assert document["stand_in"] is True
    wanted = {"count": 8, "model": "stand-in", "memory_mib": 143771, "device": "/dev/slipway-gpu"}
    assert document["hosts"]["dgx1"]["gpus"] == wanted


def silent(fleet: Fleet, name: str) -> HostKey:  # noqa: ARG001
    raise Unreachable(f"{name}: no answer")


def shown(fleet: Fleet, name: str) -> HostKey:  # noqa: ARG001
    return HostKey(pin=KEY, fingerprint="SHA256:x", pinned="")


@pytest.mark.parametrize(("fetch", "why"), [(silent, "n1: no answer"), (shown, "which was not accepted")])
def test_where_no_key_is_there_nothing_is_read(
    fetch: Callable[[Fleet, str], HostKey], why: str, tmp_path: Path
) -> None:
    said: list[str] = []

    def never(*_: object) -> Connect:
        raise AssertionError("nothing may be asked")

    with pytest.raises(SlipwayError, match=why):
        enroll(
            Request(fleet="f", hosts=("n1=10.0.0.1",), default_user="ops", storage="/s"),
            folder=tmp_path,
            fetch=fetch,
            connect_to=never,
            accept_new=lambda _: False,
            accept_changed=lambda _: False,
            say=said.append,
        )
    assert said == ["asking n1 for host keys"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("request_", "problems"),
    [
        (Request(fleet="Bad name", hosts=(), default_user="ops"), 2),
        (Request(fleet="f", hosts=("a b",), default_user="ops", storage="/s"), 1),
        (Request(fleet="f", hosts=("10.0.0.1",), default_user="ops"), 1),
        (Request(fleet="f", hosts=("10.0.0.1",), default_user="ops", storage="/s", jump="nobody"), 1),
        (Request(fleet="f", hosts=("a=10.0.0.1", "a=10.0.0.2"), default_user="ops", storage="/s"), 1),
        (Request(fleet="f", hosts=("10.0.0.1",), default_user="ops", storage="/s", slurm="mine"), 1),
    ],
)
def test_words_that_are_wrong(request_: Request, problems: int, tmp_path: Path) -> None:
    """All of them at once, before any machine is asked, and no file appears."""

    def never(*_: object) -> Connect:
        raise AssertionError("nothing may be asked")

    with pytest.raises(InputError) as caught:
        enroll(
            request_,
            folder=tmp_path,
            fetch=never,  # type: ignore[arg-type]
            connect_to=never,
            accept_new=bool,
            accept_changed=bool,
            say=print,
        )
    assert len(caught.value.problems) == problems
    assert list(tmp_path.iterdir()) == []
