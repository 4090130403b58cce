"""Debian's source packages of an interpreter: which versions apt's lists have, and their files.

A mirror may lack files of a version that its lists name: it is being updated, or it has no sources of the security
archive. So there is an order of versions to be tried, newest first.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from pathlib import Path

from hostbuild import debs
from hostbuild.apt import Apt, Lists
from hostbuild.errors import CommandError, InputError, WorldError
from hostbuild.run import run
from hostbuild.ui import Reporter, size

# 'http://.../python3.11_3.11.2.orig.tar.gz' python3.11_3.11.2.orig.tar.gz 26437858 SHA256:2411c7...
_FILE = re.compile(r"'[^']*' (?P<name>\S+) (?P<size>\d+) (?P<digest>\S+)")
_COMPLAINT = re.compile(r"(?m)^E: (.*)$")


class NotFetchedError(WorldError):
    """The archive has not got a version's files, or there is no way to it."""


@dataclass(frozen=True, slots=True)
class SourcePackage:
    """A version of a source package. files: their names, the .dsc's among them. sha256: the .dsc's. size: bytes."""

    name: str
    version: str
    sha256: str
    files: tuple[str, ...]
    size: int
    apt: Apt

    def fetch(self, directory: Path, report: Reporter) -> Path:
        """Fetch the files into a directory; give the .dsc's path. Raises NotFetchedError."""
        what = f"{self.name}={self.version}"
        with report.step(f"Getting the source of {self.name} {self.version}, {size(self.size)}"):
            try:
                # the .dsc alone, first: where a version is not there, its 25 MB of upstream's may be
                self.apt.download_source(what, directory, only_dsc=True)
                self.apt.download_source(what, directory)
            except CommandError as e:
                raise self._not_fetched(e) from e
        return directory / next(name for name in self.files if name.endswith(".dsc"))

    def _not_fetched(self, e: CommandError) -> NotFetchedError:
        complaint = _COMPLAINT.search(e.stderr)
        others = [one for one in _versions(self.apt, self.name) if one != self.version]
        named = f"--python build:deb:{self.name}={others[0]} takes another version" if others else ""
        if len(others) > 1:
            named += f" (there is {', '.join(others)})"
        return NotFetchedError(
            f"the source package {self.name} {self.version} cannot be fetched: "
            f"{' '.join(complaint[1].split()) if complaint else e}",
            hint="; ".join(filter(None, (named, self.apt.advice))),
        )


def packages_of(name: str, version: str, release: str, report: Reporter) -> Iterator[SourcePackage]:
    """Find a source package in a release, in the version that apt prefers; then, for who goes on, in its others.

    version: only that one, unless it is "". release: "" for this machine's. Raises InputError.
    """
    apt = Apt(Lists(release, sources=True), debs.cache_directory() / "apt")
    what = f"{name}={version}" if version else name
    updated = apt.require_lists(report)
    package = _ask(apt, name, what)
    if package is None and not updated:
        updated = apt.require_lists(report, newest=True)
        package = _ask(apt, name, what)
    if package is None:
        versions = _versions(apt, name)
        there = f" (there is {', '.join(versions)})" if versions else ""
        raise InputError(f"apt does not know the source package {what}{there}", hint=apt.advice)
    yield package
    if version:
        return
    given = {package.version}
    if not updated and apt.require_lists(report, newest=True):  # the archive may have gone on
        package = _ask(apt, name, what)
        if package is not None and package.version not in given:
            given.add(package.version)
            yield package
    for older in _versions(apt, name):
        package = None if older in given else _ask(apt, name, f"{name}={older}")
        if package is not None:
            yield package


def parse_uris(said: str) -> list[tuple[str, int, str]]:
    """Parse what `apt-get source --print-uris` says: name, size and digest of each file."""
    return [(match["name"], int(match["size"]), match["digest"]) for match in _FILE.finditer(said)]


def parse_versions(said: str) -> list[str]:
    """Parse which versions `apt-cache showsrc` knows, without doubles."""
    return list(dict.fromkeys(re.findall(r"(?m)^Version: (\S+)$", said)))


def newest_first(versions: Sequence[str]) -> list[str]:
    """Sort versions as Debian orders them (deb-version(7)), the newest first."""

    def compared(one: str, other: str) -> int:
        is_older = run(["dpkg", "--compare-versions", one, "lt", other], timeout=20, check=False)
        return 1 if is_older.status == 0 else -1

    return sorted(versions, key=cmp_to_key(compared))


def _versions(apt: Apt, name: str) -> list[str]:
    said = apt.ask("apt-cache", "showsrc", "--only-source", name).stdout.decode("utf-8", "replace")
    return newest_first(parse_versions(said))


def _ask(apt: Apt, name: str, what: str) -> SourcePackage | None:
    """Ask apt for a package's files, None if its lists have no such version."""
    rows = parse_uris(apt.ask_source(what).stdout.decode("utf-8", "replace"))
    described = [(one, digest) for one, _, digest in rows if one.endswith(".dsc")]
    if not described:
        return None
    [(dsc, digest)] = described
    return SourcePackage(
        name,
        what.partition("=")[2] or dsc.removeprefix(f"{name}_").removesuffix(".dsc"),
        digest.partition(":")[2],
        tuple(one for one, _, _ in rows),
        sum(length for _, length, _ in rows),
        apt,
    )
