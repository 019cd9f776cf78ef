"""The long fuzz run: `python -m tests.fuzz.long [INPUTS]`, 100,000 new inputs unless told otherwise."""

import sys
import time

from hypothesis import HealthCheck, given, settings

from tests.fuzz.checks import check_lint, check_reading, check_stack
from tests.fuzz.inputs import NAMES, STACKS, TEXTS


def main() -> None:
    """Runs the three checks and prints how many inputs each had, and for how long."""
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    each = settings(max_examples=-(-total // 3), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    runs = (
        ("stack parser", each(given(STACKS)(check_stack))),
        ("reader", each(given(TEXTS, NAMES)(check_reading))),
        ("lint", each(given(TEXTS, NAMES)(check_lint))),
    )
    for name, run in runs:
        start = time.perf_counter()
        run()
        print(f"{name}: {each.max_examples} inputs, {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
