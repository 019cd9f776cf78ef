"""Where a secret's value comes from, in which order, and the one that is made once and kept."""

import hashlib
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hosts.errors import Failed
from hosts.fleet import Fleet, Storage
from infra.operate.secrets import SecretStore

OURS = Fleet(name="f", hosts=(), slurm="ours", storage=Storage(path="/s"))
THEIRS = Fleet(name="f", hosts=(), slurm="existing", storage=Storage(path="/s"))


def store(folder: Path, *, environ: dict[str, str] | None = None, config: dict[str, str] | None = None) -> SecretStore:
    return SecretStore(folder, environ or {}, config or {}, "f")


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("name", "config", "environ", "value"),
    [
        ("api-key", {"api-key": "of config"}, {"SLIPWAY_SECRET_API_KEY": "of env"}, b"of config"),
        ("api-key", {}, {"SLIPWAY_SECRET_API_KEY": "ünï"}, "ünï".encode()),
        ("munge-key", {"munge-key": "of config"}, {}, b"of config"),
        ("munge-key", {}, {"SLIPWAY_SECRET_MUNGE_KEY": "of env"}, b"of env"),
        ("munge-key", {"api-key": "another"}, {"SLIPWAY_SECRET_API_KEY": "another"}, b"of file"),
        ("munge-key", {"munge-key": ""}, {"SLIPWAY_SECRET_MUNGE_KEY": ""}, b"of file"),
    ],
)
def test_config_goes_before_the_environment_and_both_before_the_file(
    name: str, config: dict[str, str], environ: dict[str, str], value: bytes, tmp_path: Path
) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / name).write_text("of file")
    assert store(tmp_path, environ=environ, config=config)(name) == value


def test_what_nobody_gave_says_where_to_give_it(tmp_path: Path) -> None:
    """A file of that name does not count: only what hosts must share is made and read here."""
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "api-key").write_text("of file")
    with pytest.raises(
        Failed, match=r"pulumi config set --secret .*slipway:secrets\.api-key`, or set SLIPWAY_SECRET_API_"
    ):
        store(tmp_path)("api-key")


def test_the_munge_key_is_made_once_for_this_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    made = store(folder)("munge-key")
    assert len(bytes.fromhex(made.decode())) == 32
    assert store(folder)("munge-key") == made
    assert (folder / "f" / "munge-key").read_bytes() == made
    assert stat.S_IMODE((folder / "f" / "munge-key").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "f").stat().st_mode) == 0o700
    assert [path.name for path in (folder / "f").iterdir()] == ["munge-key"]
    assert SecretStore(folder, {}, {}, "another")("munge-key") != made


def test_runs_at_the_same_time_make_one_key(tmp_path: Path) -> None:
    """Hosts with different keys, or with half of one, do not talk to each other."""
    with ThreadPoolExecutor(max_workers=16) as pool:
        for n in range(20):
            folder = tmp_path / str(n)
            made = set(pool.map(lambda _, at=folder: store(at)("munge-key"), range(16)))
            assert len(made) == 1
            assert len(made.pop()) == 64


def test_an_empty_file_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "munge-key").touch()
    with pytest.raises(Failed, match=r"munge-key is empty, wanted the secret munge-key; restore it"):
        store(tmp_path)("munge-key")
    assert store(tmp_path, config={"munge-key": "x"})("munge-key") == b"x"


def test_digests_of_what_has_a_value_or_must_have_one(tmp_path: Path) -> None:
    config = {"api-key": "a", "hf-token": "b"}
    assert store(tmp_path).digests(THEIRS) == {}
    assert list(tmp_path.iterdir()) == [], "a cluster of somebody else's has a key of its own"
    assert store(tmp_path, config=config).digests(THEIRS) == {"api-key": sha256("a")}
    assert store(tmp_path, config={"munge-key": "m"}).digests(THEIRS) == {"munge-key": sha256("m")}
    made = store(tmp_path, config=config).digests(OURS)
    key = (tmp_path / "f" / "munge-key").read_text()
    assert made == {"api-key": sha256("a"), "munge-key": sha256(key)}
