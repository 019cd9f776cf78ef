"""The KV cache: bytes a token, and vLLM's blocks, which turn the GiB that its logs print into the tokens they print."""

from dataclasses import replace

import pytest

from bench.ledger import OURS, model_of, records, request_of
from infra import model as models
from infra.architecture import FULL, Architecture
from infra.ledger import kv
from infra.ledger.division import cache_of
from infra.ledger.kv import Cache
from infra.ledger.weights import stages

GIB = 1 << 30
KIMI = models.load("kimi-k2.5").architecture
ALL = stages(61, 1)[0]
RECORDS = [(record, model) for record in records(OURS) if (model := model_of(record))]


@pytest.mark.parametrize(
    ("kv_dtype", "ranks", "size"),
    [("auto", 1, 70272), ("auto", 8, 70272), ("fp8", 1, 35136), ("fp8_e4m3", 16, 35136), ("fp8_ds_mla", 1, 40016)],
)
def test_mla_keeps_its_latent_whole_on_each_rank(kv_dtype: str, ranks: int, size: int) -> None:
    cache = Cache(ranks=ranks, element=kv.element_bytes(kv_dtype, 2.0), kv_dtype=kv_dtype)
    assert kv.token_bytes(KIMI, ALL, cache) == size


@pytest.mark.parametrize(("draft", "more"), [("kimi-k2.5-eagle3-mla", 1152), ("kimi-k2.5-eagle3", 32768)])
def test_a_draft_adds_its_own(draft: str, more: int) -> None:
    found = kv.token_bytes(KIMI, ALL, Cache(ranks=1, element=2.0), models.load(draft).architecture)
    assert found == 70272 + more


@pytest.mark.parametrize(("ranks", "heads"), [(1, 8), (4, 2), (8, 1), (16, 1)])
def test_a_rank_keeps_at_least_one_head(ranks: int, heads: int) -> None:
    llama = models.load("llama-3.3-70b").architecture
    assert kv.layer_bytes(llama, FULL, Cache(ranks=ranks, element=2.0)) == 2 * heads * 128 * 2


@pytest.mark.parametrize(("record", "model"), RECORDS, ids=[record["id"] for record, _ in RECORDS])
def test_blocks_are_those_of_the_log(record: dict[str, object], model: models.Model) -> None:
    """From the GiB of the log to its tokens; on MI300X ranks differ by half a percent, and a GiB has two decimals."""
    r = request_of(record, model)
    pool = kv.pool(model.architecture, stages(model.architecture.layers, 1)[0], cache_of(r))
    reported = record["reported"]
    assert isinstance(reported, dict)
    found = pool.tokens(reported["kv_gib_per_gpu"] * GIB, r.release)
    assert found == pytest.approx(reported["kv_tokens"], rel=6e-3 if r.gpu.rocm else 1e-3)


def test_from_0_20_tokens_are_counted_by_longest_sequences() -> None:
    """Sliding layers need few blocks, so the newer count is far higher."""
    gemma = models.load("gemma-4-31b").architecture
    cache = Cache(ranks=1, element=2.0, sequence=65536)
    pool = kv.pool(gemma, stages(60, 1)[0], cache)
    assert pool.tokens(60 * GIB, "0.20.2") > 3 * pool.tokens(60 * GIB, "0.19.1")
    uniform = kv.pool(KIMI, ALL, replace(cache, block=64))
    assert uniform.tokens(40 * GIB, "0.20.2") == pytest.approx(uniform.tokens(40 * GIB, "0.19.1"), rel=1e-3)


def test_decode_context_ranks_multiply_the_tokens() -> None:
    one = kv.pool(KIMI, ALL, Cache(ranks=8, element=2.0, block=64, sequence=65536))
    eight = kv.pool(KIMI, ALL, Cache(ranks=8, element=2.0, block=64, sequence=65536, context_ranks=8))
    assert eight.tokens(10 * GIB, "0.19.1") == 8 * one.tokens(10 * GIB, "0.19.1")
    assert eight.sequence_bytes == pytest.approx(one.sequence_bytes / 8, rel=0.01)


@pytest.mark.parametrize(("release", "groups"), [("0.17.1", 3), ("0.19.1", 2)])
def test_group_size_grew_in_0_18(release: str, groups: int) -> None:
    """gpt-oss with a draft: 18 sliding and 24 full layers; the factor to pad instead went from 1.25 to 1.5."""
    a = Architecture(
        layers=42, dense_layers=0, hidden=64, heads=4, experts=0, shared_experts=0, experts_per_token=0,
        dense_intermediate=64, expert_intermediate=0, q_lora_rank=0, kv_lora_rank=0, qk_nope_head_dim=0,
        qk_rope_head_dim=0, v_head_dim=0, vocabulary=64, context=4096, window=128, mixers="S" * 18 + "A" * 24,
    )  # fmt: skip
    pool = kv.pool(a, stages(42, 1)[0], Cache(ranks=1, element=2.0, sequence=4096, release=release))
    assert len(pool.groups) == groups
