"""TensorRT-LLM's own YAML, held against the classes of the release's table, as its pydantic models refuse it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lab.stand_in.machine import fail


def read(path: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """What the YAML says; the process ends where the release would not take it."""
    import yaml  # noqa: PLC0415 - the image has it, and no other part of a stand-in needs it

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        fail(f"{path} can't be read: {error}")
    if not isinstance(content, dict):
        fail(f"{path}: found {type(content).__name__}, wanted a mapping")
    wrong = list(_faults(table, {"class": table["root"]}, content, ()))
    if wrong:
        count = f"{len(wrong)} validation error{'s' if wrong[1:] else ''} for {table['root']}"
        fail("\n".join([f"ValidationError: {count}", *wrong]))
    return content


def _faults(table: Mapping[str, Any], shape: Any, value: Any, place: tuple[str, ...]) -> Iterator[str]:  # noqa: ANN401
    """Each fault in two lines: where, and what."""
    if isinstance(shape, list):
        found = [list(_faults(table, one, value, place)) for one in shape]
        yield from min(found, key=len)
    elif isinstance(shape, dict) and "class" in shape and isinstance(value, dict):
        yield from _class_faults(table, table["classes"][shape["class"]], value, place)
    elif wanted := _unfit(shape, value):
        yield f"{'.'.join(place)}\n  Input should be {wanted}, got {value!r}"
    elif isinstance(shape, dict) and ("list" in shape or "dict" in shape):
        inner, items = (shape["list"], enumerate(value)) if "list" in shape else (shape["dict"], value.items())
        for key, item in items:
            yield from _faults(table, inner, item, (*place, str(key)))


def _class_faults(
    table: Mapping[str, Any], nested: Mapping[str, Any], value: Mapping[str, Any], place: tuple[str, ...]
) -> Iterator[str]:
    is_closed = nested.get("closed", True) and not nested.get("open")
    for key, inner in value.items():
        at = (*place, str(key))
        known = nested["keys"].get(key)
        if known is not None:
            yield from _faults(
                table, known["shape"] if isinstance(known, dict) and "shape" in known else known, inner, at
            )
        elif is_closed:
            yield f"{'.'.join(at)}\n  Extra inputs are not permitted [type=extra_forbidden]"


def _unfit(shape: Any, value: Any) -> str:  # noqa: ANN401 - of JSON
    """What a value should be, "" where it is that."""
    if isinstance(shape, dict):
        if "one of" in shape:
            return "" if value in shape["one of"] else " or ".join(map(repr, shape["one of"]))
        kinds: dict[str, type] = {"list": list, "dict": dict, "class": dict}
        wanted = next((kind for kind in kinds if kind in shape), "")
        return f"a valid {shape.get('class', wanted)}" if wanted and not isinstance(value, kinds[wanted]) else ""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        "int": number and float(value) == int(value),
        "float": number,
        "bool": isinstance(value, bool),
        "str": isinstance(value, str),
        "none": value is None,
    }
    named = {"int": "a valid integer", "float": "a valid number", "bool": "a valid boolean", "none": "None"}
    return "" if fits.get(shape, True) else named.get(shape, "a valid string")
