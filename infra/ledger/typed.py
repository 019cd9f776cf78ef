"""The words of `invoke fit` one by one: what they mean, or the problem with what to type instead."""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from hosts.errors import InputError
from hosts.problem import Problem
from hosts.words import nearest
from infra import model as models
from infra import precision as precisions
from infra.ledger.gpus import GPUS, Gpu, named, of_memory
from infra.model import Model

ENGINES = ("vllm", "sglang", "sglang-kt", "kt-kernel", "trtllm")
KV_DTYPES = (
    "auto", "bfloat16", "bf16", "float16", "fp16", "half", "fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc", "fp8_ds_mla",
    "fp8_per_token_head", "int8", "int8_per_token_head", "fp4", "fp4_e2m1", "nvfp4",
)  # fmt: skip
"""Those of engines whose size is known."""
MOST = 4096
COUNT = f"a number from 1 to {MOST}"
RELEASE = re.compile(r"\d+(\.\d+)+[0-9A-Za-z.+-]*")


def engine_problems(engine: str) -> Iterator[Problem]:
    """An engine that can't be asked about."""
    wanted = f"one of {', '.join(ENGINES)}"
    if engine not in ENGINES:
        yield Problem(where="--engine", found=engine, wanted=wanted, fix=_meant(engine, ENGINES))


def release_problems(engine: str, release: str) -> Iterator[Problem]:
    """A release whose options are not known is computed as its neighbours are; a word that is no release is not."""
    if not release or RELEASE.fullmatch(release) or engine not in ENGINES:
        return
    from infra.flags import table  # noqa: PLC0415 - only where the release is no number

    known = table.releases(engine)
    if release not in known:
        wanted = f"a release of {engine}, like {', '.join(known)}"
        yield Problem(where="--release", found=repr(release)[:40], wanted=wanted, fix=f"--release {known[-1]}")


def format_problems(quant: str, dtype: str, kv_dtype: str) -> Iterator[Problem]:
    """Formats of numbers whose size is not known."""
    if quant and precisions.scheme(quant) is None and quant.lower() not in precisions.METHODS:
        yield _unknown("--quant", quant, (*precisions.SCHEMES, *precisions.METHODS))
    if dtype.lower() not in precisions.DTYPE_BYTES:
        yield _unknown("--dtype", dtype, tuple(precisions.DTYPE_BYTES))
    if kv_dtype.lower() not in KV_DTYPES:
        yield _unknown("--kv-dtype", kv_dtype, KV_DTYPES)


def _unknown(where: str, word: str, known: tuple[str, ...]) -> Problem:
    return Problem(where=where, found=word, wanted=f"one of {', '.join(known)}", fix=_meant(word.lower(), known))


def _meant(word: str, known: tuple[str, ...]) -> str | None:
    near = nearest(word, known)
    return f"did you mean {near}?" if near else None


def share(utilization: float | str, problems: list[Problem]) -> float:
    """The share of a GPU that an engine takes; 0 where nobody said it, which only the number 0 and "" mean."""
    if utilization in ("", 0):
        return 0.0
    try:
        found = float(utilization)
    except ValueError:
        found = 0.0
    if not 0 < found <= 1:
        problems.append(
            Problem(where="--utilization", found=str(utilization), wanted="a share above 0 and at most 1, like 0.9")
        )
    return found


def ranks(tensor: int | str, problems: list[Problem]) -> int:
    """Tensor ranks; 1 where nobody said them, which only the number 0 and "" mean."""
    if tensor in ("", 0):
        return 1
    found = int(tensor) if re.fullmatch(r"-?\d{1,9}", str(tensor)) else 0
    if not 1 <= found <= MOST:
        problems.append(Problem(where="--tensor", found=str(tensor), wanted=COUNT))
    return found


def count_problems(counts: Mapping[str, int]) -> Iterator[Problem]:
    """Numbers of things that are none or absurdly many."""
    for option, count in counts.items():
        if not 1 <= count <= MOST:
            yield Problem(where=option, found=str(count), wanted=COUNT)


def model(name: str, where: str, problems: list[Problem]) -> Model | None:
    """A model of the catalogue by name or repository, or what a config.json says."""
    try:
        return models.find(name) or _file(name)
    except InputError as error:
        problems.extend(
            Problem(where=where, found=f"{name}: {p.where}: {p.found}", wanted=p.wanted, why=p.why, fix=p.fix)
            if p.where != "$"
            else Problem(where=where, found=p.found, wanted=p.wanted, why=p.why, fix=p.fix)
            for p in error.problems
        )
    return None


def _file(name: str) -> Model:
    path = Path(name)
    if path.is_dir() or path.is_file():
        return models.load_config(path)
    near = difflib.get_close_matches(name.lower().rstrip("/").rpartition("/")[2], models.names(), n=3, cutoff=0.6)
    path_of = "give the path of its config.json, downloaded from its repository"
    problem = Problem(
        where="$",
        found=f"{name[:80]!r}, no model of the catalogue and no file",
        wanted="a model of infra/models/, its repository, or the path of a config.json",
        fix=f"did you mean {' or '.join(near)}? else {path_of}" if near else path_of,
    )
    raise InputError([problem])


def gpus(text: str, problems: list[Problem]) -> tuple[int, Gpu | None]:
    """(GPUs a node, product) of `8xh200` or `8x139.8GiB`."""
    found = re.fullmatch(r"(?:(\d{1,4})\s*[x×*]\s*)?(\S.*)", text.strip(), re.IGNORECASE)  # noqa: RUF001 - people write it
    count = int(found.group(1) or 1) if found else 0
    name = found.group(2) if found else ""
    size = re.fullmatch(r"(\d{1,4}(?:\.\d{1,4})?)\s*(GiB|GB|G|Gi)", name, re.IGNORECASE)
    gpu = of_memory(float(size.group(1))) if size else named(name)
    if gpu is None or not count or gpu.total_gib <= 0:
        near = nearest(name.lower(), list(GPUS))
        problems.append(
            Problem(
                where="--gpus",
                found=repr(text)[:60],
                wanted=f"GPUs of a node, like 8xh200 or 8x139.8GiB; known are {', '.join(GPUS)}",
                fix=f"did you mean {count or 8}x{near}?" if near else None,
            )
        )
        return 0, None
    return count, gpu
