"""Short runs of the fuzz tests, the same inputs each time; `python -m tests.fuzz.long` runs 100,000 new ones."""

from hypothesis import given, settings

from tests.fuzz.checks import check_lint, check_reading, check_stack
from tests.fuzz.inputs import NAMES, STACKS, TEXTS

short = settings(max_examples=500, deadline=None, derandomize=True, database=None)


@short
@given(STACKS)
def test_the_stack_parser(data: object) -> None:
    check_stack(data)


@settings(short, max_examples=2000)
@given(TEXTS, NAMES)
def test_the_reader(text: str, name: str) -> None:
    check_reading(text, name)


@short
@given(TEXTS, NAMES)
def test_lint(text: str, name: str) -> None:
    check_lint(text, name)
