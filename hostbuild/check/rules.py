"""All rules, over one image."""

from collections.abc import Callable, Iterable, Iterator

from hostbuild.check.boot import check_archives, check_boot
from hostbuild.check.configuration import check_configuration
from hostbuild.check.finding import Finding, Level
from hostbuild.check.indexes import check_indexes
from hostbuild.check.limits import check_limits
from hostbuild.check.modules import check_modules, check_signatures
from hostbuild.check.programs import check_programs
from hostbuild.check.view import View

Rule = Callable[[View], Iterator[Finding]]
ALL: tuple[Rule, ...] = (
    check_archives,
    check_boot,
    check_programs,
    check_modules,
    check_signatures,
    check_indexes,
    check_configuration,
    check_limits,
)
# What is worth the time on whatever make-image has built itself: the rest holds by how it was made
BUILT: tuple[Rule, ...] = (check_boot, check_programs, check_signatures, check_configuration)
# What can be said of an image that the kernel does not unpack
_DAMAGED: tuple[Rule, ...] = (check_archives, check_limits)
_ORDER = (Level.FATAL, Level.ERROR, Level.NOTE)


def check(view: View, rules: Iterable[Rule] = ALL) -> list[Finding]:
    """Give everything that is wrong with an image, what matters most first."""
    rules = _DAMAGED if view.archives.trouble else rules
    found = {finding: None for rule in rules for finding in rule(view)}
    return sorted(found, key=lambda one: (_ORDER.index(one.level), one.id, one.place))


def works(findings: Iterable[Finding]) -> bool:
    """Return whether nothing but notes was found."""
    return all(one.level is Level.NOTE for one in findings)
