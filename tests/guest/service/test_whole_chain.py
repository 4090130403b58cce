"""resolve.py, demand.py, scheduler.py and loader.py together, on made-up worlds: nobody waits for ever.

A world has hard dependencies, softdeps before and after, options, install lines, aliases, blacklists, modules that
bear no company, modules that fail, removals, and a small limit of jobs; it is told by its number
(support/randomchain.py).
"""

import pytest
from hypothesis import settings

from tests.support.fuzzing import USUAL
from tests.support.randomchain import describe, drive

CHUNKS = 8
LONG = settings.default is not None and settings.default.max_examples != USUAL
WORLDS = 100_000 if LONG else 2_000  # `make fuzz` has the long profile


@pytest.mark.hypothesis
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_world_comes_to_rest(chunk: int) -> None:
    """Whatever the world and the order of events: all ends, and every want has its result.

    No module is inserted by two processes at once, none before what it needs, and whatever can be in is in.
    """
    size = WORLDS // CHUNKS
    for seed in range(chunk * size, (chunk + 1) * size):
        _chain, wrong = drive(seed)
        assert not wrong, f"world {seed}: {wrong}; {describe(seed)}"
