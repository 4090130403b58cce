"""What is wrong with a configuration, line by line, given the modules that it is for.

Everything reported has no effect, or not the one that it seems to have. Rules: modprobe.d(5) and resolve.py.
"""

from __future__ import annotations

from modaliasd.core.errors import Problem
from modaliasd.core.kmod.check_commands import check_commands
from modaliasd.core.kmod.glob import is_wildcard, matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from modaliasd.core.kmod.check_commands import Programs
    from modaliasd.core.kmod.modprobe_d import Configuration, OptionsLine
    from modaliasd.core.kmod.resolve import Resolver

    # The names of a module's parameters; None where they cannot be known (no such file, or a compressed one).
    Parameters = Callable[[str], frozenset[str] | None]

_ODD = "commas and quotes count as part of the name"
_EVERY_MODULE_HAS = frozenset({"dyndbg", "async_probe"})


def findings(resolver: Resolver, parameters: Parameters, programs: Programs | None = None) -> list[Problem]:
    """All findings about the resolver's configuration, by file and line. programs: None where unknown."""
    configuration = resolver.configuration
    found = list(configuration.problems)
    for check in (_blacklists, _aliases, _softdeps, _installs):
        found += check(configuration, resolver)
    for entry in configuration.options:
        message = _options(entry, resolver, parameters)
        if message:
            found.append(Problem(entry.file, entry.line, message))
    if programs is not None:
        found += check_commands(configuration, programs)
    return sorted(found, key=lambda problem: (problem.file, problem.line))


def _exists(module: str, resolver: Resolver) -> bool:
    return resolver.dependencies.find(module) is not None or module in resolver.dependencies.builtin


def _blacklists(configuration: Configuration, resolver: Resolver) -> Iterator[Problem]:
    for entry in configuration.blacklists:
        if _odd(entry.module):
            message = f"blacklist {entry.module}: {_ODD}, so it denies nothing"
        elif is_wildcard(entry.module):
            message = (
                f"blacklist {entry.module}: patterns do not work here: it denies nothing; name each module"
            )
        elif entry.module in resolver.dependencies.builtin:
            message = f"blacklist {entry.module}: it is built into the kernel, nothing can be denied"
        elif "." in entry.module or "/" in entry.module:
            message = f"blacklist {entry.module}: a module's name has neither dots nor slashes"
        else:
            continue
        yield Problem(entry.file, entry.line, message)
    for entry in configuration.kernel_blacklist:
        if "-" in entry.module or is_wildcard(entry.module):
            message = f"module_blacklist={entry.module}: the kernel compares exact names, with underscores"
            yield Problem(entry.file, entry.line, message)


def _aliases(configuration: Configuration, resolver: Resolver) -> Iterator[Problem]:
    for entry in configuration.aliases:
        if entry.module == "off" or _exists(entry.module, resolver) or resolver.install_command(entry.module):
            continue
        what = f"alias {entry.pattern} {entry.module}"
        if any(matches(other.pattern, entry.module) for other in configuration.aliases):
            message = f"{what}: {entry.module} is an alias itself, and aliases are not chained"
        else:
            message = f"{what}: there is no module {entry.module}, so what matches is not loaded at all"
        yield Problem(entry.file, entry.line, message)


def _softdeps(configuration: Configuration, resolver: Resolver) -> Iterator[Problem]:
    for entry in configuration.softdeps:
        if not is_wildcard(entry.module) and not _exists(entry.module, resolver):
            message = f"softdep {entry.module}: there is no such module"
            yield Problem(entry.file, entry.line, message)
        for name in entry.pre + entry.post:
            if not resolver.find(name)[1]:
                message = f"softdep {entry.module}: there is no module or alias {name}, so it is left out"
                yield Problem(entry.file, entry.line, message)


def _installs(configuration: Configuration, resolver: Resolver) -> Iterator[Problem]:
    for entry in configuration.installs:
        before, after = resolver.softdeps(entry.module)
        if any(resolver.find(name)[1] for name in before + after):
            message = f"install {entry.module}: not used, because {entry.module} has softdeps"
        else:
            message = (
                f"install {entry.module}: this command runs instead of inserting the module, as root, "
                f"also where another module needs it: {entry.text}"
            )
        yield Problem(entry.file, entry.line, message)


def _options(entry: OptionsLine, resolver: Resolver, parameters: Parameters) -> str:
    """Return what is wrong with one `options` line, "" if nothing.

    Words of the kernel's command line (line 0) are left alone: not all that has a dot there is for a module.
    """
    if entry.line and _odd(entry.module):
        return f"options {entry.module}: {_ODD}"
    by_alias = any(alias.pattern == entry.module for alias in resolver.configuration.aliases)
    if entry.line == 0 or by_alias:
        return ""
    if is_wildcard(entry.module):
        return f"options {entry.module}: patterns do not work here, except exactly that of an alias line"
    if ":" in entry.module:
        return ""
    if resolver.dependencies.find(entry.module) is None:
        if entry.module in resolver.dependencies.builtin:
            where = f"{entry.module}.PARAMETER=VALUE on the kernel's command line"
            return f"options {entry.module}: it is built into the kernel, which takes {where}"
        return f"options {entry.module}: there is no such module or alias"
    slip = _slip(entry.text)
    if slip:
        return f"options {entry.module}: {slip}"
    known = parameters(entry.module)
    if known is None:
        return ""
    names = [word.partition("=")[0].replace("-", "_") for word in _outside_quotes(entry.text)]
    wrong = [name for name in names if name not in known | _EVERY_MODULE_HAS]
    return f"options {entry.module}: it has no parameter {', '.join(wrong)}" if wrong else ""


def _slip(text: str) -> str:
    """Return what is written otherwise than the kernel reads it in an options text, "" if nothing."""
    words = _outside_quotes(text)
    for word, following in zip(words, [*words[1:], "="], strict=True):
        if word.startswith("=") or (word.endswith("=") and f'{word}"' not in text and "=" not in following):
            return f"no blanks around `=`: PARAMETER=VALUE ({text})"
        if "'" in word:
            return f"single quotes count as part of the value ({text})"
        if any("=" in part for part in word.split(",")[1:]):
            return f"parameters are separated by blanks ({text})"
    return ""


def _odd(name: str) -> bool:
    return not {",", '"', "'"}.isdisjoint(name)


def _outside_quotes(text: str) -> list[str]:
    """Return the words of an options text, without what stands inside double quotes."""
    return "".join(text.split('"')[::2]).split()


def parameters_in(image: bytes) -> frozenset[str] | None:
    """Return the parameters that an uncompressed module file names in its .modinfo; None if it is not an ELF file."""
    if not image.startswith(b"\x7fELF"):
        return None
    names = set()
    for word in image.split(b"\0"):
        if word.startswith((b"parmtype=", b"parm=")):
            name = word.partition(b"=")[2].partition(b":")[0]
            names.add(name.decode("ascii", "replace").replace("-", "_"))
    return frozenset(names)
