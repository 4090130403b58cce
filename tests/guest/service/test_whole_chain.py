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
EXAMPLES = settings.default.max_examples if settings.default is not None else USUAL
# `make fuzz` has the long profile, and its own test one with a single example
WORLDS = 2_000 if EXAMPLES == USUAL else min(100_000, CHUNKS * EXAMPLES)


@pytest.mark.fuzz
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_world_comes_to_rest(chunk: int) -> None:
    """Whatever the world and the order of events: all ends, and every want has its result.

    No module is inserted by two processes at once, none before what it needs, and whatever can be in is in.
    """
    size = WORLDS // CHUNKS
    for seed in range(chunk * size, (chunk + 1) * size):
        _chain, wrong = drive(seed)
        assert not wrong, f"world {seed}: {wrong}; {describe(seed)}"


@pytest.mark.fuzz
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_world_with_a_policy_comes_to_rest(chunk: int) -> None:
    """The same where a policy keeps modules out, at the last moment, too; they come in only if somebody names them."""
    size = WORLDS // CHUNKS
    for seed in range(chunk * size, (chunk + 1) * size):
        chain, wrong = drive(seed, with_policy=True)
        assert not wrong, f"world {seed} without {sorted(chain.denied)}: {wrong}; {describe(seed)}"
