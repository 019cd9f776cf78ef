"""Images and the numbers that rootless containers need, as Podman and the files of a host tell of them."""

import subprocess

import pytest

from hosts.errors import Unknown
from hosts.resources.image import Image
from hosts.resources.subordinate_ids import SubordinateIds

DIGEST = f"sha256:{'ab' * 32}"
IMAGE = Image(
    reference=f"registry.example/engine@{DIGEST}",
    archive="/images/it's here.tar",
    user="slipway",
    log="/var/lib/slipway/images/x.log",
)
IDS = SubordinateIds(user="slipway", first="2100000000", count="65536")


@pytest.mark.parametrize(
    ("out", "found"),
    [
        ("absent\n", None),
        (f"found {DIGEST} [{IMAGE.reference}]\n", IMAGE),
        (f"found sha256:{'cd' * 32} [{IMAGE.reference}]\n", IMAGE),  # of a list of images for several machines
        (f"found sha256:{'cd' * 32} []\n", None),
    ],
)
def test_an_image_is_there_by_its_digest(out: str, found: Image | None) -> None:
    assert IMAGE.parse(out) == found


@pytest.mark.parametrize("out", ["", "unknown: database is locked\n"])
def test_a_podman_that_does_not_answer_is_no_absent_image(out: str) -> None:
    with pytest.raises(Unknown, match=r"can't say whether it has registry\.example"):
        IMAGE.parse(out)


@pytest.mark.parametrize("image", [IMAGE, Image(reference=IMAGE.reference, log="/s/x.log")])
def test_all_shell_parses(image: Image) -> None:
    for script in (image.probe(), *image.steps(None), *image.remove(), image.loading()):
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_store_is_the_users_own() -> None:
    assert "runuser -u slipway -- env -i HOME=" in IMAGE.probe()
    assert "runuser" not in Image(reference=IMAGE.reference, log="/s/x.log").probe()


def test_an_archive_is_loaded_and_anything_else_pulled() -> None:
    assert "podman_ load --input" in IMAGE.loading()
    assert f"podman_ pull -- {IMAGE.reference}" in Image(reference=IMAGE.reference, log="/s/x.log").loading()


@pytest.mark.parametrize(
    ("out", "found"),
    [
        ("enough\nenough\n", IDS),
        ("enough\n", None),
        ("", None),
        ("taken ops:2100000000:65536 (/etc/subuid)\nenough\nenough\n", IDS),  # it has others
    ],
)
def test_subordinate_ids(out: str, found: SubordinateIds | None) -> None:
    assert IDS.parse(out) == found


def test_numbers_of_somebody_else_are_not_given_away_twice() -> None:
    with pytest.raises(Unknown, match=r"2100000000 to 2100065535.*are given away: ops:2100000000:9 \(/etc/subgid\)"):
        IDS.parse("taken ops:2100000000:9 (/etc/subgid)\n")
