"""Speculative decoding: the draft, the target, and the release that knows both."""

from collections.abc import Iterator, Mapping

from infra.rules.recognise import family
from infra.rules.release import within
from infra.rules.rule import SGLANG, VLLM, Breach, Rule
from infra.rules.subject import Subject

_CONFIG = "vllm 0.19.1, vllm/config/speculative.py"
_SGLANG = "sglang 0.5.9, sglang/srt/server_args.py: _handle_speculative_decoding"
DRAFT_METHODS = ("eagle", "eagle3", "medusa", "mlp_speculator", "draft_model")
LOOKUP_METHODS = ("ngram", "[ngram]", "ngram_gpu")
EAGLE = ("EAGLE", "EAGLE3", "STANDALONE", "NEXTN")
DRAFTLESS = frozenset(
    {"gpt_oss", "llama", "llama4", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe", "qwen3_vl_moe"}
)
"""Families whose checkpoints hold no layer to draft with."""
OPTION = "speculative-config"


def _vllm(s: Subject) -> Mapping[str, object]:
    return s.mapping(OPTION) or {}


def _target(s: Subject) -> str:
    return family(s.model.repo if s.model else s.written_model)


def _draft_name(s: Subject) -> str:
    """The last part of the draft's name, in lower case; "" where the run decides."""
    config = _vllm(s)
    name = config.get("model") if OPTION in s.options else s.texts.get("speculative-draft-model-path")
    last = str(name or "").rstrip("/").rpartition("/")[2].lower()
    return "" if "$" in last or "<" in last else last


def _eagle3(s: Subject) -> bool:
    method = _vllm(s).get("method")
    return method == "eagle3" or (method is None and "eagle3" in _draft_name(s))


def _target_too_new(s: Subject) -> Iterator[Breach]:
    if _eagle3(s) and _target(s).startswith("kimi"):
        yield Breach(
            options=(OPTION,),
            found=f"an Eagle3 draft for {_target(s)} on vLLM {s.release}",
            wanted="vLLM 0.18.1 or newer",
            fix="pin a newer release, or leave --speculative-config out",
            edit=s.edit(OPTION),
        )


def _method(s: Subject) -> Iterator[Breach]:
    if "eagle3" in _draft_name(s) and _vllm(s).get("method") in ("eagle", "draft_model", "medusa", "mtp"):
        yield Breach(
            options=(OPTION,),
            found=f'method "{_vllm(s)["method"]}" for the draft {_draft_name(s)}',
            wanted='"method": "eagle3"',
            fix='write "method": "eagle3"',
            edit=s.rewritten(OPTION, method="eagle3"),
        )


def _no_own_draft(s: Subject) -> Iterator[Breach]:
    method = _vllm(s).get("method")
    if method in ("mtp", "deepseek_mtp") and _target(s).startswith("kimi") and not _draft_name(s):
        yield Breach(
            options=(OPTION,),
            found=f'method "{method}" for {_target(s)}, which has no MTP layer',
            wanted="an Eagle3 draft",
            fix='write "method": "eagle3", "model": DRAFT',
        )


def _draft_of_another(s: Subject) -> Iterator[Breach]:
    draft, target = _draft_name(s), _target(s)
    trained_for = family(draft.partition("-eagle")[0]) if "eagle" in draft else ""
    if not trained_for or (s.model is None and not target):
        return
    option = OPTION if OPTION in s.options else "speculative-draft-model-path"
    same = {trained_for, target} <= {"kimi-k2", "kimi-k2-instruct", "kimi-k2-base"} or trained_for == target
    if not same:
        yield Breach(
            options=(option,),
            found=f"{draft}, trained for {trained_for}",
            wanted=f"a draft that was trained for {target or (s.model.name if s.model else '')}",
            fix="name the draft of this model, or leave speculative decoding out",
        )


def _tokens(s: Subject) -> Iterator[Breach]:
    config = _vllm(s)
    if not config:
        return
    count = config.get("num_speculative_tokens")
    if isinstance(count, int) and count <= 0:
        yield Breach(
            options=(OPTION,),
            found=f"num_speculative_tokens {count}",
            wanted="a number above 0",
            edit=s.rewritten(OPTION, num_speculative_tokens=3),
        )
    drafted = config.get("method") in (*DRAFT_METHODS, *LOOKUP_METHODS) or "eagle" in _draft_name(s)
    if "num_speculative_tokens" not in config and drafted and "speculative_token_tree" not in config:
        yield Breach(
            options=(OPTION,),
            found="no num_speculative_tokens",
            wanted="the number of tokens that are proposed a step",
            fix='add "num_speculative_tokens": 3',
            edit=s.rewritten(OPTION, num_speculative_tokens=3),
        )
    if config.get("method") in DRAFT_METHODS and not config.get("model"):
        yield Breach(
            options=(OPTION,),
            found=f'method "{config["method"]}" without a draft',
            wanted='"model": the draft\'s repository or path',
        )


def _tensor_size(s: Subject) -> Iterator[Breach]:
    config, p = _vllm(s), s.parallelism
    size = config.get("draft_tensor_parallel_size")
    if p and isinstance(size, int) and size not in (1, p.tensor):
        yield Breach(
            options=(OPTION,),
            found=f"draft_tensor_parallel_size {size}",
            wanted=f"1 or {p.tensor}" if p.tensor > 1 else "1",
            fix='write "draft_tensor_parallel_size": 1',
            edit=s.rewritten(OPTION, draft_tensor_parallel_size=1),
        )
    if config.get("tensor_parallel_size") is not None:
        yield Breach(
            options=(OPTION,),
            found="tensor_parallel_size in the speculative configuration",
            wanted="draft_tensor_parallel_size",
        )


def _lookup(s: Subject) -> Iterator[Breach]:
    config = _vllm(s)
    low, high = config.get("prompt_lookup_min"), config.get("prompt_lookup_max")
    if isinstance(low, int) and isinstance(high, int) and low > high:
        yield Breach(
            options=(OPTION,), found=f"prompt_lookup_min {low} above prompt_lookup_max {high}", wanted="at most"
        )


def _async(s: Subject) -> Iterator[Breach]:
    if s.options.get("async-scheduling") is True and _vllm(s).get("method") in ("ngram", "suffix", "medusa"):
        yield Breach(
            options=("async-scheduling",),
            found=f"--async-scheduling with {_vllm(s)['method']} drafts",
            wanted="Eagle, MTP or draft models",
            fix="leave out --async-scheduling",
            edit=s.edit("async-scheduling"),
        )


def _no_draft(s: Subject) -> Iterator[Breach]:
    algorithm = s.text("speculative-algorithm")
    bare = _target(s).startswith("kimi") or (s.model is not None and s.model.family in DRAFTLESS)
    if algorithm in EAGLE and "speculative-draft-model-path" not in s.options and bare:
        yield Breach(
            options=("speculative-algorithm",),
            found=f"{algorithm} without a draft, for a model that has no MTP layer",
            wanted="--speculative-draft-model-path",
            fix="name a draft: lightseekorg/kimi-k2.5-eagle3" if _target(s) == "kimi-k2.5" else "name a draft",
        )


def _draft_alone(s: Subject) -> Iterator[Breach]:
    names = [name for name in s.options if name.startswith("speculative-")]
    if "speculative-draft-model-path" in names and "speculative-algorithm" not in names:
        yield Breach(
            options=("speculative-draft-model-path",),
            found="a draft without --speculative-algorithm",
            wanted="--speculative-algorithm beside it",
            fix="add --speculative-algorithm EAGLE3" if "eagle3" in _draft_name(s) else None,
        )


def _numbers(s: Subject) -> Iterator[Breach]:
    if s.text("speculative-algorithm") not in EAGLE or s.given("speculative-adaptive"):
        return
    others = {"speculative-eagle-topk", "speculative-num-draft-tokens"}
    if "speculative-num-steps" not in s.options and others & s.options.keys():
        yield Breach(
            options=("speculative-eagle-topk", "speculative-num-draft-tokens"),
            found="--speculative-eagle-topk or --speculative-num-draft-tokens without --speculative-num-steps",
            wanted="all three, or none",
            fix="add --speculative-num-steps",
        )
    if "speculative-num-steps" in s.options and "speculative-eagle-topk" not in s.options:
        yield Breach(
            options=("speculative-num-steps",),
            found="--speculative-num-steps without --speculative-eagle-topk",
            wanted="all three numbers, or none",
            why="SGLang compares the top-k with 1, and it is None",
            fix="add --speculative-eagle-topk 1",
            edit=s.edit(add=(("--speculative-eagle-topk", "1"),)),
        )


def _chain(s: Subject) -> Iterator[Breach]:
    steps, tokens = s.number("speculative-num-steps"), s.number("speculative-num-draft-tokens")
    topk = s.number("speculative-eagle-topk")
    if "speculative-algorithm" not in s.options:
        return
    if topk == 1 and steps is not None and tokens is not None and tokens != steps + 1:
        yield Breach(
            options=("speculative-num-draft-tokens",),
            found=f"{tokens} draft tokens for {steps} steps of a chain",
            wanted=str(steps + 1),
            why="with a top-k of 1 the draft is a chain, so that SGLang sets its tokens to steps + 1",
            fix=f"write {steps + 1}",
            edit=s.edit("speculative-num-draft-tokens", add=(("--speculative-num-draft-tokens", str(steps + 1)),)),
        )


def _with_pipeline(s: Subject) -> Iterator[Breach]:
    p = s.parallelism
    works = within(s.release, since="0.5.11") and s.text("speculative-algorithm") in ("EAGLE", "DSPARK", None)
    if p and p.pipeline > 1 and "speculative-algorithm" in s.options and not works:
        yield Breach(
            options=("pp-size",),
            found="pipeline parallelism with speculative decoding",
            wanted="one of them",
        )


RULES: tuple[Rule, ...] = (
    Rule(
        name="eagle3-target",
        engines=VLLM,
        below="0.18.0",
        title="an Eagle3 draft for Kimi on a release that does not know that pair",
        why="kimi_k2 and kimi_k25 are among the targets, and the class of the MLA draft is there, since 0.18",
        source=f"{_CONFIG}: aux_hidden_states_supported; vllm-project/recipes, moonshotai/Kimi-K2.5.md",
        check=_target_too_new,
    ),
    Rule(
        name="draft-method",
        engines=VLLM,
        title="another method than eagle3 for an Eagle3 draft",
        why="the method decides which class reads the draft's weights",
        source=f"{_CONFIG}: __post_init__",
        check=_method,
    ),
    Rule(
        name="draft-missing",
        engines=VLLM,
        title="drafts of the model's own MTP layer, for a model that has none",
        why="num_nextn_predict_layers is 0 in the config.json of Kimi-K2 and K2.5",
        source="config.json of Kimi-K2: num_nextn_predict_layers",
        check=_no_own_draft,
    ),
    Rule(
        name="draft-target",
        engines=VLLM | SGLANG,
        level="warning",
        title="a draft that was trained for another model",
        why="an Eagle3 draft continues its target's hidden states: for another it runs, and almost nothing is accepted",
        source="kimi-k25-vllm-slurm-dgx-h200, section 10",
        check=_draft_of_another,
    ),
    Rule(
        name="draft-tokens",
        engines=VLLM,
        title="a draft without its number of tokens, or a method without its draft",
        why="ValueError in SpeculativeConfig",
        source=f"{_CONFIG}: _verify_args",
        check=_tokens,
    ),
    Rule(
        name="draft-tensor-size",
        engines=VLLM,
        title="a tensor size of the draft that is neither 1 nor the target's",
        why="ValueError in SpeculativeConfig",
        source=f"{_CONFIG}: _verify_and_get_draft_tp",
        check=_tensor_size,
    ),
    Rule(
        name="prompt-lookup",
        engines=VLLM,
        title="a prompt lookup whose minimum is above its maximum",
        why="ValueError in SpeculativeConfig",
        source=f"{_CONFIG}: __post_init__",
        check=_lookup,
    ),
    Rule(
        name="async-drafts",
        engines=VLLM,
        since="0.18.0",
        below="0.20.0",
        title="asynchronous scheduling with drafts that it can't work with",
        why="ValueError in VllmConfig: only Eagle, MTP, draft models and n-grams on the GPU",
        source="vllm 0.19.1, vllm/config/vllm.py: __post_init__",
        check=_async,
    ),
    Rule(
        name="draft-missing",
        engines=SGLANG,
        title="Eagle without a draft, for a model that has no layer to draft with",
        why="only models with an MTP layer draft for themselves: Kimi-K2, K2.5, Llama and dense Qwen have none",
        source=f"{_SGLANG}; config.json: num_nextn_predict_layers 0",
        check=_no_draft,
    ),
    Rule(
        name="draft-alone",
        engines=SGLANG,
        level="warning",
        title="a draft without an algorithm",
        why="nothing is speculated without --speculative-algorithm",
        source=_SGLANG,
        check=_draft_alone,
    ),
    Rule(
        name="draft-numbers",
        engines=SGLANG,
        title="some of the three numbers of speculative decoding, and not the others",
        why="SGLang asserts that all three are given or none",
        source=_SGLANG,
        check=_numbers,
    ),
    Rule(
        name="draft-chain",
        engines=SGLANG,
        level="warning",
        title="more or fewer draft tokens than a chain of that many steps has",
        why="SGLang sets them itself",
        source=_SGLANG,
        check=_chain,
    ),
    Rule(
        name="draft-with-pipeline",
        engines=SGLANG,
        title="speculative decoding over a pipeline",
        why="SGLang asserts against it; 0.5.23 takes plain EAGLE",
        source="sglang 0.5.9, sglang/srt/server_args.py: check_server_args",
        check=_with_pipeline,
    ),
)
