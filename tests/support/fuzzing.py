"""How long the property tests search: as long as suits the suite, or as long as a profile says (`make fuzz`)."""

from hypothesis import settings

USUAL = 100  # Hypothesis's own number of examples, which is no profile's


def examples(usual: int) -> int:
    """The number of examples for a test that takes `usual` ones in the suite: a profile's, where one was chosen."""
    chosen = settings.default.max_examples if settings.default is not None else USUAL
    return usual if chosen == USUAL else chosen
