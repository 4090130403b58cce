"""Debian packages without installing them: asked of apt, checked, unpacked into a cache.

    $XDG_CACHE_HOME/hostbuild/            ~/.cache/hostbuild by default
        apt-metadata.json                 what apt said, valid as long as its package lists do not change
        apt/RELEASE[_ARCHITECTURE]/       lists of another release (apt.py), and what apt said of it
        packages/NAME_VERSION_ARCH-SHA/   one unpacked package: the first 16 digits of the .deb's SHA-256 (sealed.py)

A package that is unpacked is not fetched again, unless somebody has changed what lies in the cache. apt verifies the
lists' signatures; the .deb is compared with the SHA-256 that stands in them. A directory appears under its name only
when it is complete, so that processes which work at the same time do not disturb one another.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from hostbuild.apt import OWN, UPDATE, Apt, Lists, Spec, parse_spec
from hostbuild.errors import CommandError, HostbuildError, InputError, WorldError
from hostbuild.formats.copyright import parse_licences
from hostbuild.fs import sealed
from hostbuild.fs.answers import cache_directory
from hostbuild.fs.confine import confine
from hostbuild.fs.files import write_file
from hostbuild.fs.growth import growth_of
from hostbuild.fs.regular import read_regular
from hostbuild.fs.scratch import scratch_directory
from hostbuild.near import did_you_mean
from hostbuild.run import run
from hostbuild.ui import Reporter, Silent, size

__all__ = [
    "Package",
    "cache_directory",
    "describe",
    "describe_dependency",
    "describe_exact",
    "describe_spec",
    "find_unpacked",
    "licences_of",
    "lists_key",
    "parse_stanzas",
    "require_unpacked",
]

_PINNED = re.compile(r"([a-z0-9][a-z0-9+.-]+)(?::\w+)? \(= ([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Package:
    """A package as apt's lists describe it.

    depends: the names it depends on, alternatives left out. pinned: those of one version only, with that.
    lists: those that it was found in.
    """

    name: str
    version: str
    architecture: str
    sha256: str
    size: int
    depends: tuple[str, ...]
    pinned: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    lists: Lists = field(default=OWN, compare=False)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def describe(
    names: Sequence[str], lists: Lists = OWN, report: Reporter | None = None, *, renew: bool = True
) -> list[Package]:
    """Ask apt for the candidate versions of packages.

    names: as parse_spec() of apt.py takes them, without a release. renew: ask again with new lists where a package is
    not in another release's, unless they are new.
    Raises InputError for one that its lists do not know, with those that are called alike; WorldError where
    there are no lists.
    """
    apt = _apt(lists)
    updated = apt.require_lists(report or Silent())
    for name in names:
        parse_spec(name)
    known = _remembered(apt)
    missing = [name for name in names if name not in known]
    if missing:
        said = _ask(apt, missing, known)
        lacking = renew and not updated and any(name not in known for name in missing)
        if lacking and apt.require_lists(report or Silent(), newest=True):  # it may have come since
            said = _ask(apt, missing, known)
        unknown = [name for name in missing if name not in known]
        if unknown:
            raise _unknown(unknown, said, apt)
        _remember(known, apt)
    return [known[name] for name in names]


def describe_spec(spec: Spec, report: Reporter | None = None) -> Package:
    """Ask apt for the package that a user has named. Raises as describe() does."""
    [package] = describe([str(replace(spec, release=""))], spec.lists, report)
    return package


def describe_dependency(package: Package, name: str) -> Package:
    """Ask apt for a package that another one depends on: in the same release, and in the version that it demands."""
    version = dict(package.pinned).get(name)
    return describe_spec(Spec(name, version or "", package.lists.release, package.lists.architecture))


def describe_exact(name: str, version: str, sha256: str, lists: Lists = OWN) -> Package:
    """Ask apt for one version of a package, an old one perhaps. Raises WorldError where it is not to be had."""
    parse_spec(name)
    apt = _apt(lists)
    apt.require_lists(Silent())
    asked = apt.ask("apt-cache", "show", f"{name}={version}")
    stanzas = list(parse_stanzas(asked.stdout.decode("utf-8", "replace")))
    found = next((package for package in stanzas if package.sha256 == sha256), None)
    if found is None:
        why = "has another SHA-256 there" if stanzas else "is not in apt's lists (any more)"
        raise WorldError(f"{name} {version} {why}", hint=apt.advice)
    return replace(found, lists=lists)


def lists_key(lists: Lists) -> str:
    """Return a digest that changes with the lists of packages that answers come from, and with their sources."""
    return _key(_apt(lists))


def _apt(lists: Lists) -> Apt:
    return Apt(lists, cache_directory() / "apt")


def _ask(apt: Apt, names: Sequence[str], known: dict[str, Package]) -> str:
    """Add to what is known what apt says of packages, each by the name that it was asked by; give its complaints."""
    asked = apt.ask("apt-cache", "show", "--no-all-versions", *names)
    found = [replace(one, lists=apt.lists) for one in parse_stanzas(asked.stdout.decode("utf-8", "replace"))]
    by_name = {package.name: package for package in found}
    by_name |= {f"{package.name}={package.version}": package for package in found}
    known.update({name: by_name[name] for name in names if name in by_name})
    return asked.stderr.decode("utf-8", "replace")


def find_unpacked(name: str, version: str, architecture: str, sha256: str) -> Path | None:
    """Give the directory that holds a package's files, None if it is not in the cache."""
    return sealed.find(cache_directory() / "packages" / _directory_name(name, version, architecture, sha256))


def _directory_name(name: str, version: str, architecture: str, sha256: str) -> str:
    # an epoch as apt writes it in file names
    return f"{name}_{version.replace(':', '%3a')}_{architecture}-{sha256[:16]}"


def require_unpacked(package: Package, report: Reporter | None = None) -> Path:
    """Return the directory that holds the package's files; fetch and unpack it if that was never done."""
    packages = cache_directory() / "packages"
    final = packages / _directory_name(package.name, package.version, package.architecture, package.sha256)
    if found := sealed.find(final):
        return found
    packages.mkdir(exist_ok=True)
    with scratch_directory(packages) as staging:
        report = report or Silent()
        with (
            report.step(f"Getting {package}, {size(package.size)}", package.size) as advance,
            growth_of(staging, advance),
        ):
            deb = _fetch(package, staging)
        with report.step(f"Unpacking {package}"):
            complete = staging / "sealed"
            complete.mkdir()
            run(["dpkg-deb", "-x", deb, sealed.root_of(complete)], timeout=600)
            confine(sealed.root_of(complete), f"the package {package}")
        return sealed.publish(complete, final)


def licences_of(package: Package) -> tuple[str, ...]:
    """Return the licences that the copyright file of an unpacked package names; () where it is not there."""
    name = _directory_name(package.name, package.version, package.architecture, package.sha256)
    root = sealed.root_of(cache_directory() / "packages" / name)
    try:
        text = read_regular(root / "usr/share/doc" / package.name / "copyright")
    except OSError:
        return ()
    return parse_licences(text.decode("utf-8", "replace"))


def parse_stanzas(text: str) -> Iterable[Package]:
    """Parse what `apt-cache show` prints: fields of packages, an empty line between two of them."""
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([A-Za-z0-9-]+): ?(.*)$", stanza, re.MULTILINE))
        if not {"Package", "Version", "Architecture", "SHA256", "Size"} <= fields.keys():
            continue  # a virtual package, or one that is installed and in no list
        depends = ", ".join(filter(None, (fields.get("Pre-Depends", ""), fields.get("Depends", ""))))
        yield Package(
            fields["Package"],
            fields["Version"],
            fields["Architecture"],
            fields["SHA256"],
            int(fields["Size"]),
            tuple(re.split(r"[ (:|]", item, maxsplit=1)[0] for item in depends.split(", ") if item),
            tuple((m[1], m[2]) for item in depends.split(", ") if (m := _PINNED.fullmatch(item))),
        )


def _unknown(names: Sequence[str], said: str, apt: Apt) -> HostbuildError:
    """Make the error for packages that apt does not know: whose fault it is depends on whether it knows any."""
    where = f" in {apt.lists}" if apt.lists.private else ""
    message = f"apt does not know the package{'s' * (len(names) > 1)} {', '.join(names)}{where}"
    name, equals, _ = names[0].partition("=")
    known = (
        apt.ask("apt-cache", "pkgnames", name[:3]).stdout.decode().split()
    )  # all names are too many to compare
    if not known and not apt.ask("apt-cache", "pkgnames", "b").stdout:
        return WorldError(f"{message}: it has no package lists", hint=apt.advice)
    if equals and name in known:
        shown = apt.ask("apt-cache", "show", name).stdout.decode("utf-8", "replace")
        versions = ", ".join(dict.fromkeys(package.version for package in parse_stanzas(shown)))
        hint = f"there is {versions}" if versions else apt.advice
        return InputError(
            message,
            hint=hint if apt.lists.private else f"{hint}; another release's by deb:{names[0]}/RELEASE",
        )
    last = said.strip().splitlines()[-1:] or ["nothing"]
    near = did_you_mean(name, (one for one in known if one not in names))
    hint = (
        apt.advice
        if apt.lists.private
        else f"{UPDATE}, if its lists are old; another release's by deb:{names[0]}/RELEASE"
    )
    return InputError(f"{message}{near} (apt-cache says: {last[0]})", hint=hint)


def _fetch(package: Package, directory: Path) -> Path:
    apt = _apt(package.lists)
    what = f"{package.name}={package.version}"
    try:
        apt.download(what, directory)
    except CommandError as e:
        if not package.lists.private:
            raise
        raise CommandError(str(e), argv=e.argv, status=e.status, stderr=e.stderr, hint=apt.advice) from e
    files = list(directory.glob("*.deb"))
    if len(files) != 1:
        raise WorldError(f"apt-get download {package.name} left {len(files)} files, not one", hint=apt.advice)
    with files[0].open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != package.sha256:
        raise WorldError(
            f"{files[0].name} has SHA-256 {found}, but apt's lists say {package.sha256}: not used",
            hint=apt.advice,
        )
    return files[0]


def _remembered(apt: Apt) -> dict[str, Package]:
    # asking apt takes a second where its binary cache is turned off, as in containers
    try:
        kept = json.loads(_memory(apt).read_text())
        if kept["lists"] != _key(apt):
            return {}
        return {
            name: Package(
                **{
                    **item,
                    "depends": tuple(item["depends"]),
                    "pinned": tuple(map(tuple, item["pinned"])),
                    "lists": apt.lists,
                }
            )
            for name, item in kept["asked"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _remember(known: dict[str, Package], apt: Apt) -> None:
    kept = {"lists": _key(apt), "asked": {name: asdict(package) for name, package in known.items()}}
    with suppress(HostbuildError):  # it saves a second next time, and no more
        write_file(_memory(apt), json.dumps(kept).encode(), "apt's answers")


def _memory(apt: Apt) -> Path:
    return apt.directory / "answers.json" if apt.lists.private else cache_directory() / "apt-metadata.json"


def _key(apt: Apt) -> str:
    return hashlib.sha256(apt.lists_key().encode()).hexdigest()
