"""Rules of a policy that can never decide anything: for `modaliasd check-config`."""

from __future__ import annotations

from modaliasd.core.kmod.glob import is_wildcard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modaliasd.core.policy.rules import Policy, Rule


def pointless(policy: Policy, exists: Callable[[str], bool]) -> Iterator[tuple[int, str]]:
    """(line, message) for each rule that is of no effect; `exists` says whether there is such a module."""
    for at, rule in enumerate(policy.rules):
        for name in rule.conditions.get("module", ()):
            if not is_wildcard(name) and not exists(name):
                yield rule.line, f"module {name}: there is no such module"
        for later in policy.rules[at + 1 :]:
            if _covers(later, rule):
                yield (
                    rule.line,
                    f"the rule in line {later.line} applies wherever this one does, and comes later",
                )
                break


def _covers(later: Rule, rule: Rule) -> bool:
    """Tell whether `later` holds for everything that `rule` holds for, as far as their texts show."""
    return all(
        name in rule.conditions and ("*" in patterns or set(rule.conditions[name]) <= set(patterns))
        for name, patterns in later.conditions.items()
    )
