"""How long the property tests search: as suits the suite, or as a profile says (`make fuzz`, `make test-fast`)."""

from hypothesis import settings

USUAL = 100  # Hypothesis's own number of examples, which is no profile's


def examples(usual: int) -> int:
    """The number of examples for a test that takes `usual` ones in the suite: a profile's, where one was chosen.

    A profile that shortens the search never lengthens a short one.
    """
    chosen = settings.default.max_examples if settings.default is not None else USUAL
    if chosen < USUAL:
        return min(usual, chosen)
    return usual if chosen == USUAL else chosen
