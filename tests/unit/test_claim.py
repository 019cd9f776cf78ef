"""A claim that shuts others out: a GPU that no scheduler gives out. Its probe is run for real."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hosts.errors import Unknown
from hosts.resources.claim import Claim
from hosts.trust import FUNCTIONS
from infra.deployment import LauncherConfig, Parallelism
from infra.desired import desired
from tests.unit.stacks import STACK, changed, parse

OURS, THEIRS = "backend=b\nholder=eva@desk\n", "backend=c\nholder=max@desk\n"
FOUND: list[tuple[str, dict[str, str], bool, str]] = [
    ("nobody's", {}, False, ""),
    ("ours", {"k2": OURS}, True, ""),
    ("another stack's, of the same backend", {"pd": OURS}, False, "gpu-3 is held by the stack pd; take others"),
    ("another backend's stack", {"pd": THEIRS}, False, "or run: invoke teardown -s pd"),
    ("ours, and two others'", {"k2": OURS, "pd": OURS, "a": OURS}, False, "held by the stack a, pd;"),
    ("our stack of another backend", {"k2": THEIRS}, False, "claimed from another Pulumi backend by max@desk"),
    ("one that is being written", {"pd.new": OURS}, False, ""),
]


@pytest.mark.parametrize(("files", "there", "refused"), [row[1:] for row in FOUND], ids=[row[0] for row in FOUND])
def test_a_gpu_is_one_stacks(files: dict[str, str], there: bool, refused: str, tmp_path: Path) -> None:
    claim = Claim(
        folder=f"{tmp_path}/a b", artifact="gpu-3", stack="k2", backend="b", holder="eva@desk", exclusive=True
    )
    folder = Path(claim.path).parent
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    out = subprocess.run(["bash", "-c", FUNCTIONS + claim.probe()], capture_output=True, text=True, check=True).stdout
    if refused:
        with pytest.raises(Unknown, match=refused):
            claim.parse(out)
    else:
        assert (claim.parse(out) == claim) is there
    if "pd" in files and "k2" not in files:  # what all stacks may hold at once is not refused
        shared = replace(claim, exclusive=False)
        out = subprocess.run(
            ["bash", "-c", FUNCTIONS + shared.probe()], capture_output=True, text=True, check=True
        ).stdout
        assert shared.parse(out) is None


@pytest.mark.parametrize(
    ("fleet", "launcher", "world", "held"),
    [
        ("bare", {}, 8, {"n1": range(8)}),
        ("bare", {"gpus": 4}, 8, {"n1": range(4), "n2": range(4)}),
        ("bare", {"devices": (2, 5)}, 4, {"n1": (2, 5), "n2": (2, 5)}),
        ("ours", {}, 8, {}),
        ("theirs", {}, 8, {}),
    ],
)
def test_gpus_are_claimed_where_no_slurm_gives_them_out(
    fleet: str, launcher: dict[str, object], world: int, held: dict[str, range | tuple[int, ...]], tmp_path: Path
) -> None:
    d = parse(changed("fleet", fleet, STACK.replace("{name: slurm, time", "{name: systemd, time")), tmp_path)
    config = LauncherConfig(name="systemd", partition="gpu", time="60", **launcher)  # type: ignore[arg-type]
    d = replace(d, launcher=config, parallelism=Parallelism(tensor=world))
    stage = desired(d, backend="b", holder="h", digests={})[0]
    claims = {
        host: [it.artifact for it in resources if isinstance(it, Claim) and it.exclusive]
        for host, resources in stage.hosts.items()
    }
    assert {host: names for host, names in claims.items() if names} == {
        host: [f"gpu-{n}" for n in numbers] for host, numbers in held.items()
    }
