"""The parts of a stack file, read one by one: a wrong value becomes a problem with its place, and reading goes on."""

import re
from collections.abc import Iterator
from typing import TypeGuard

from hosts.schema import Kind, Reader, describe, nearest
from infra.deployment import Argument, Parallelism, Role, Router
from infra.worded import RELEASE, quoted

PREFIX = "slipway:"
SECRETS = ("api-key", "munge-key")
"""What may stand under `slipway:secrets`, encrypted."""
MAX_DEPTH = 8
IMAGE = re.compile(r"[a-z0-9][a-z0-9._:/-]{0,200}@sha256:[0-9a-f]{64}")
EXPERTS = Kind(
    pattern=r"[A-Za-z0-9_][A-Za-z0-9._:/@-]*", wanted="a folder beside the models: letters, digits and . _ : / @ -"
)
PULUMI_KEYS = frozenset({"config", "encryptionsalt", "encryptedkey", "secretsprovider", "environment"})
ENV_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
ENV_REFUSED = re.compile(
    r"SLIPWAY_.*|SLURM.*|SBATCH_.*|SRUN_.*|LD_.*|PYTHON.*|BASH.*|PATH|HOME|USER|SHELL|IFS|ENV|SHELLOPTS|TMPDIR"
    r"|CUDA_VISIBLE_DEVICES|HF_HOME|HF_HUB_OFFLINE|TRANSFORMERS_OFFLINE|XDG_CACHE_HOME|TRITON_CACHE_DIR|TORCHINDUCTOR_CACHE_DIR"
    r"|VLLM_CACHE_ROOT|VLLM_NO_USAGE_STATS|VLLM_HOST_IP|VLLM_PORT"
)
ENV_SECRET = re.compile(r".*(_KEY|_TOKEN|_SECRET|PASSWORD|PASSPHRASE)")


def own_keys(file: Reader) -> dict[str, object]:
    """What stands under `config` in our namespace, less the prefix; Pulumi's own keys and others' are skipped."""
    for key in file.data:
        if key not in PULUMI_KEYS:
            file.problem(f"$ {key}", "an unknown key", "`config`, and what Pulumi writes beside it")
    config = file.raw("config")
    if not isinstance(config, dict):
        file.problem("$", describe(config), "`config:` with a mapping under it")
        return {}
    own: dict[str, object] = {}
    for key, value in config.items():
        text = str(key)
        if text.startswith(PREFIX):
            own[text.removeprefix(PREFIX)] = value
        elif ":" not in text:
            file.problem(f"$.{text}", "a key without a namespace", f"{PREFIX}{text}")
        elif nearest(text.partition(":")[0], (PREFIX[:-1],)):
            file.problem(f"$.{text}", "a key of another namespace", f"{PREFIX}{text.partition(':')[2]}")
    return {key: value if key == "secrets" else _in_clear(file, f"$.{key}", value) for key, value in own.items()}


def _in_clear(file: Reader, where: str, value: object, depth: int = 0) -> object:
    """The value, with a problem for each encrypted text in it: a plan must be made without the passphrase."""
    if depth > MAX_DEPTH:
        file.problem(where, "a value nested too deep", f"at most {MAX_DEPTH} levels")
        return ""
    if isinstance(value, dict):
        if _is_encrypted(value):
            file.problem(
                where,
                "an encrypted value",
                "plain text",
                why="plans are made and shown without the passphrase; secrets go under slipway:secrets",
            )
            return ""
        return {key: _in_clear(file, f"{where}.{key}", item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_in_clear(file, f"{where}[{n}]", item, depth + 1) for n, item in enumerate(value)]
    return value


def arguments(engine: Reader, key: str) -> Iterator[tuple[str, Argument]]:
    """The engine's options, each with a value of a kind that can be written on a command line."""
    raw = engine.raw(key)
    if raw is None:
        return
    where = engine.at(key)
    if not isinstance(raw, dict):
        engine.problem(where, describe(raw), "a mapping of options")
        return
    for name, value in raw.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            bare = str(name).lstrip("-")
            fix = f"write {bare}" if bare != str(name) else None
            engine.problem(f"{where}.{name}", repr(name), "an option's name without dashes before it", fix=fix)
        elif _is_argument(engine, f"{where}.{name}", value):
            yield name, value


def _is_argument(engine: Reader, where: str, value: object) -> TypeGuard[Argument]:
    """Whether a value and all in it are text, numbers, booleans, lists and mappings; keeps a problem where not."""
    if value is None:
        engine.problem(where, "nothing", "a value", fix="an option without one is written `true`")
        return False
    if isinstance(value, str) and re.search(r"[\x00-\x1f\x7f]", value):
        engine.problem(where, describe(value), "one line of text")
        return False
    if isinstance(value, dict):
        names = [name for name in value if not isinstance(name, str)]
        for name in names:
            engine.problem(where, f"the key {name!r}", "text", why="it becomes JSON")
        parts = [_is_argument(engine, f"{where}.{name}", item) for name, item in value.items()]
        return not names and all(parts)
    if isinstance(value, list):
        parts = [_is_argument(engine, f"{where}[{n}]", item) for n, item in enumerate(value)]
        return all(parts)
    return True


def env(engine: Reader, key: str) -> Iterator[tuple[str, str]]:
    """Variables for the engine's processes; those that Slipway sets, that load code or that are secrets are refused."""
    raw = engine.raw(key)
    if raw is None:
        return
    where = engine.at(key)
    if not isinstance(raw, dict):
        engine.problem(where, describe(raw), "a mapping of variables")
        return
    for name, value in raw.items():
        at = f"{where}.{name}"
        if not isinstance(name, str) or not ENV_NAME.fullmatch(name):
            engine.problem(at, f"the name {name!r}", "capital letters, digits and _")
        elif ENV_SECRET.fullmatch(name):
            engine.problem(
                at, name, "no secret here", why="it would stand in the job's script, in git and in the state"
            )
        elif ENV_REFUSED.fullmatch(name):
            engine.problem(
                at, name, "a variable that Slipway and SLURM do not set", why="the job's environment is a known one"
            )
        elif (
            isinstance(value, bool) or not isinstance(value, str | int | float) or re.search(r"[\x00-\x1f]", str(value))
        ):
            engine.problem(at, describe(value), "one line of text", fix='put it in quotes: "…"')
        else:
            yield name, str(value)


def parallelism(top: Reader) -> Parallelism:
    """Into how many pieces the model is cut; one, where nothing is said."""
    if not top.has("parallelism"):
        top.raw("parallelism")
        return Parallelism()
    reader = top.child("parallelism")
    found = Parallelism(
        tensor=reader.number("tensor", default=1, low=1, high=4096),
        pipeline=reader.number("pipeline", default=1, low=1, high=4096),
        data=reader.number("data", default=1, low=1, high=4096),
        expert=reader.flag("expert", default=False),
        decode_context=reader.number("decode_context", default=1, low=1, high=4096),
    )
    reader.done()
    if found.tensor % found.decode_context:
        wanted = f"a divisor of tensor, {found.tensor}"
        reader.problem(reader.at("decode_context"), str(found.decode_context), wanted, why="its ranks are tensor ranks")
    return found


def roles(top: Reader, known: tuple[str, ...], engine: str) -> tuple[Role, ...]:
    """The parts of a deployment of several; each has nodes and a parallelism of its own."""
    if not top.has("roles"):
        top.raw("roles")
        return ()
    if not known:
        top.raw("roles")
        top.problem("$.roles", "several roles", f"one of them: {engine} has no roles", fix="take slipway:roles out")
        return ()
    if top.raw("parallelism") is not None:
        top.problem("$.parallelism", "one beside slipway:roles", "the parallelism of each role, below it")
    found: list[Role] = []
    raw = top.raw("roles")
    if not isinstance(raw, dict):
        top.problem("$.roles", describe(raw), f"a mapping of {' and '.join(known)}")
        return ()
    for key, entry in raw.items():
        name, reader = str(key), Reader(entry, top.file, f"$.roles.{key}", top.problems)
        if name not in known:
            near = nearest(name, known)
            top.problem(
                reader.path_,
                "an unknown role",
                f"one of {', '.join(known)}, the roles of {engine}",
                fix=near and f"did you mean {near}?",
            )
        found.append(
            Role(
                name=name,
                nodes=reader.number("nodes", low=1, high=4096),
                parallelism=parallelism(reader),
                replicas=reader.number("replicas", default=1, low=1, high=4096),
                args=dict(arguments(reader, "args")),
                env=dict(env(reader, "env")),
            )
        )
        reader.done()
    missing = [name for name in known if name not in {role.name for role in found}]
    if missing:
        top.problem("$.roles", ", ".join(role.name for role in found) or "none", f"{' and '.join(known)} of {engine}")
    return tuple(found)


def router(top: Reader) -> Router | None:
    """What stands before the roles, where it is named."""
    if not top.has("router"):
        top.raw("router")
        return None
    reader = top.child("router")
    found = Router(
        name=reader.choice("name", ("sglang-router",)),
        release=quoted(reader, "release", RELEASE),
        args=dict(arguments(reader, "args")),
    )
    reader.done()
    return found


def image(top: Reader) -> str:
    """A container image by digest, "" where none is named."""
    found = top.text("image", default="")
    if found and not IMAGE.fullmatch(found):
        top.problem(
            "$.image",
            repr(found[:120]),
            "an image by digest, NAME@sha256:<64 hexadecimal digits>",
            why="a tag is another image tomorrow",
            fix="ask your nodes' `podman image inspect --format '{{.Digest}}'`",
        )
        return ""
    return found


def port(top: Reader) -> int:
    """The port, as a number or as the text that `pulumi config set` writes."""
    value = top.raw("port")
    if value is None:
        return 8000
    number = int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,6}", value) else value
    if isinstance(number, bool) or not isinstance(number, int) or not 1024 <= number <= 65535:
        top.problem("$.port", describe(value), "a port from 1024 to 65535", why="lower ones need root")
        return 8000
    return number


def check_secrets(top: Reader) -> None:
    """`secrets` holds known names with encrypted values; what they are is Pulumi's to know, at the last moment."""
    raw = top.raw("secrets")
    if raw is None or _is_encrypted(raw):
        return
    if not isinstance(raw, dict):
        top.problem("$.secrets", describe(raw), "a mapping of encrypted values")
        return
    for name, value in raw.items():
        if name not in SECRETS:
            top.problem(f"$.secrets.{name}", "an unknown secret", f"one of {', '.join(SECRETS)}")
        elif not _is_encrypted(value):
            fix = f"run: pulumi config set --secret --path {PREFIX}secrets.{name}"
            top.problem(f"$.secrets.{name}", "plain text", "an encrypted value", why="the file is in git", fix=fix)


def _is_encrypted(value: object) -> bool:
    return isinstance(value, dict) and list(value) == ["secure"] and isinstance(value["secure"], str)
