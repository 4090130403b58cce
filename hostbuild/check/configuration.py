"""Rules for what people wrote: modprobe.d, modules-load.d, the policy, the words of the kernel's command line.

The guest's own rules (`modaliasd check-config`), asked before the boot.
"""

from collections.abc import Iterator

from hostbuild.check.finding import Finding, error, note
from hostbuild.check.view import View
from hostbuild.predict.target import POLICY, make_target
from modaliasd.core.kmod.check import findings
from modaliasd.core.kmod.invocation import Flavour
from modaliasd.core.kmod.plan import Stage
from modaliasd.core.policy.check import pointless
from modaliasd.core.settings import parse_settings


def check_configuration(view: View) -> Iterator[Finding]:
    """Check each line of the image's configuration."""
    tree = view.tree
    tables = tree.tables if tree is not None else {}
    flavour = view.modprobe or Flavour.KMOD
    target = make_target(tables, view.config, view.append, view.release, "this image", flavour)
    resolver = target.resolver
    parameters = {
        module.name: frozenset(
            value.partition(":")[0].replace("-", "_")
            for key in ("parm", "parmtype")
            for value in module.values(key)
        )
        for module in (tree.modules if tree is not None else ())
    }
    problems = set(resolver.configuration.problems)
    for one in problems:
        yield (error if view.own else note)(
            "modprobe-d", _place(one.file, one.line), one.message, "modprobe.d(5)"
        )
    for one in findings(resolver, parameters.get):
        if one not in problems:
            yield note(
                "modprobe-d-effect",
                _place(one.file, one.line),
                one.message,
                "modprobe.d(5); docs/modprobe-d.md",
            )
    for listed in target.listed:
        if resolver.resolve(listed.name).stage is Stage.NONE:
            yield (error if view.own else note)(
                "modules-load",
                _place(listed.file, listed.line),
                f"nothing is called {listed.name}, by name or by alias",
                "add the module to --modules, or take the line out",
            )
    if not view.own:
        return
    for one in parse_settings(view.append).problems:
        yield error("command-line", "command line", one.message, "docs/settings.md")
    if target.policy is not None:
        for mistake in target.policy.mistakes:
            yield error(
                "policy",
                _place(POLICY, mistake.line),
                f"{mistake.message}: until that is fixed everything is denied",
                "docs/policy.md",
            )
        for line, message in pointless(target.policy, target.has):
            yield note("policy-pointless", _place(POLICY, line), message, "docs/policy.md")


def _place(file: str, line: int) -> str:
    return f"{file}:{line}" if line else file
