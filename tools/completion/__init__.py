"""What a shell offers after an option of `invoke` that takes a stack, a fleet, an engine or a model."""

from collections.abc import Callable, Mapping, Sequence

from invoke.parser.context import ParserContext


def candidates(line: str, contexts: Mapping[str, ParserContext]) -> Sequence[str] | None:
    """The values that may come next in a line up to the cursor; None where that is no option's value.

    Names of ours have no blanks, so words are what stands between them.
    """
    words = line.replace("=", " = ").split()[1:]
    command = next((word for word in reversed(words) if word in contexts), "")
    if not command:
        return None
    flags = contexts[command].flags
    joined = "=" in words[-2:]  # --fleet=, --fleet=la
    before = [word for word in words if word != "="]
    if not line.endswith((" ", "=")) and before[-1] not in flags:
        before.pop()
    option = before[-1]
    if option not in flags or not flags[option].takes_value:
        return None
    name = str(flags[option].name)
    find = VALUES.get(f"{command} {name}") or VALUES.get(name)
    if find is None:
        return None
    values = find()
    # Bash takes what follows = for a word of its own, other shells do not
    return [*values, *(f"{option}={value}" for value in values if joined)]


def _stacks() -> Sequence[str]:
    from infra import spec  # noqa: PLC0415 - a shell waits for each import

    return spec.stacks()


def _fleets() -> Sequence[str]:
    from hosts import fleet  # noqa: PLC0415

    return fleet.names()


def _models() -> Sequence[str]:
    from infra import model  # noqa: PLC0415

    return model.names()


def _engines() -> Sequence[str]:
    from infra.engines import ENGINES  # noqa: PLC0415

    return tuple(ENGINES)


def _servers() -> Sequence[str]:
    from infra.lint.lint import ENGINES  # noqa: PLC0415

    return tuple(ENGINES)


VALUES: Mapping[str, Callable[[], Sequence[str]]] = {
    "stack": _stacks,
    "fleet": _fleets,
    "model": _models,
    "draft": _models,
    "engine": _engines,
    "lint engine": _servers,
    "fit engine": _servers,
    "slurm": lambda: ("ours", "existing", "none"),
}
"""By option, or by command and option."""
