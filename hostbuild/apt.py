"""Which apt is asked: this machine's own, or one with private lists of packages, for another release or architecture.

    $XDG_CACHE_HOME/hostbuild/apt/RELEASE/              RELEASE_ARCHITECTURE/ for one that is not this machine's,
                                                        RELEASE_sources/ for source packages
        debian.sources      this machine's archives with RELEASE's suites in them (formats/aptsources.py)
        lists/ cache/       what apt keeps
        status              empty: nothing counts as installed
        updated             its time is that of the last update that went well
        lock                held (flock) while apt works: alone by an update, together by all else

A private apt has the settings of this machine (proxies, certificates, checks), its mirrors and its keyrings, and checks
the archives' signatures as ever. Nothing of this machine's own apt is changed, and no privilege is needed. Lists that
are older than a day are brought up to date, where the network allows it.
"""

import fcntl
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hostbuild import ui
from hostbuild.errors import InputError, WorldError
from hostbuild.formats import aptsources
from hostbuild.fs.files import write_file
from hostbuild.run import Completed, run
from hostbuild.ui import Reporter

UPDATE = "sudo apt-get update"
_FRESH_S = 24 * 3600.0  # how long lists are used as they are
_NEWEST_S = 600.0  # and where something is missing in them
_UPDATE_TIMEOUT = 900.0  # seconds; the lists of sid have 11 MB
_ASK_TIMEOUT = 120.0
_ETC = Path("/etc/apt")
_OWN_CACHE = Path("/var/cache/apt/pkgcache.bin")
_OWN_LISTS = (
    Path("/var/lib/apt/lists"),
    _ETC,
    _ETC / "sources.list.d",
    _ETC / "preferences.d",
)

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?")  # Debian policy, 5.6.1; an architecture after it
_RELEASE = re.compile(r"[a-z][a-z0-9.+-]*")
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+:~-]*")  # Debian policy, 5.6.12
_ARCHITECTURES = re.compile(r"(?m)^Architectures: (.*)$")  # of a release's (In)Release file

# What this machine's configuration does when lists are updated, or prefers, is none of ours.
_CLEARED = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Default-Release;
#clear Acquire::Languages;
Acquire::Languages "none";
"""


@dataclass(frozen=True, slots=True)
class Lists:
    """Which lists of packages: a release's, for an architecture, by Debian's names; "" for this machine's own.

    sources: those of source packages, which this machine's own apt seldom has: its release's in a private one, then.
    """

    release: str = ""
    architecture: str = ""
    sources: bool = False

    def __str__(self) -> str:
        """Say which, for messages; "" for this machine's own."""
        words = (self.release, self.architecture and f"the architecture {self.architecture}")
        return " for ".join(filter(None, words)) + (" (sources)" if self.sources else "")

    @property
    def private(self) -> bool:
        """Whether this machine's own apt has others."""
        return self != OWN


OWN = Lists()


@dataclass(frozen=True, slots=True)
class Spec:
    """A package as a user names it after `deb:`. version, release: "" for whatever apt prefers, this machine's own."""

    name: str
    version: str = ""
    release: str = ""
    architecture: str = ""

    @property
    def lists(self) -> Lists:
        """The lists that it is to be looked for in."""
        return Lists(self.release, self.architecture)

    def __str__(self) -> str:
        version, release = self.version and f"={self.version}", self.release and f"/{self.release}"
        return f"{self.name}{version}{release}"


def parse_spec(text: str) -> Spec:
    """Parse PACKAGE, PACKAGE/RELEASE, PACKAGE=VERSION, or both: PACKAGE=VERSION/RELEASE. Raises InputError."""
    rest, slash, release = text.partition("/")
    name, equals, version = rest.partition("=")
    hint = "deb:linux-image-amd64, deb:linux-image-amd64/trixie, deb:linux-image-amd64=6.1.0-1"
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} is not a valid Debian package name", hint=hint)
    if equals and not _VERSION.fullmatch(version):
        raise InputError(f"{version!r} is not a valid version of a Debian package", hint=hint)
    if slash:
        check_release(release)
    return Spec(name, version, release)


def check_release(release: str) -> str:
    """Give the name of a release back. Raises InputError for what can be none."""
    if not _RELEASE.fullmatch(release):
        raise InputError(
            f"{release!r} is not a valid name of a Debian release", hint="trixie, sid, bookworm-backports"
        )
    return release


class Apt:
    """An apt to ask. lists: as they were asked for. release: "" for this machine's own lists."""

    def __init__(self, lists: Lists, directory: Path) -> None:
        """directory: what private ones lie in, each in a directory of its own; and what speeds this machine's own up.

        Raises WorldError where nobody knows which release another architecture's packages are of.
        """
        self.lists = lists
        self.release = check_release(lists.release or _own_release()) if lists.private else ""
        name = "_".join(filter(None, (self.release, lists.architecture, "sources" * lists.sources)))
        self.directory = directory / name if lists.private else directory

    def ask(self, program: str, *words: str) -> Completed:
        """Run apt-cache, apt-get or the like, whatever its exit status."""
        with self._held():
            argv = [program, *self._options(), *words]
            return run(argv, timeout=_ASK_TIMEOUT, env=_environment(), check=False)

    def download(self, what: str, directory: Path) -> None:
        """Fetch a .deb into a directory. Raises CommandError. what: NAME=VERSION."""
        # _apt, the user that apt downloads as, may not enter a cache directory of root's
        as_root = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 and not self.lists.private else []
        with self._held():
            argv = ["apt-get", *self._options(), *as_root, "-q", "download", what]
            run(argv, timeout=600, cwd=directory, env=_environment())

    def ask_source(self, what: str) -> Completed:
        """Ask which files a source package has, whatever the exit status: `apt-get source --print-uris`."""
        with self._held():
            words = ("-q", "--print-uris", "--only-source", "source", what)
            argv = ["apt-get", *self._options(), *words]
            # it leaves out what lies in the current directory
            return run(argv, timeout=_ASK_TIMEOUT, cwd=self.directory, env=_environment(), check=False)

    def download_source(self, what: str, directory: Path, *, only_dsc: bool = False) -> None:
        """Fetch the files of a source package into a directory, checked by the lists. Raises CommandError.

        what: NAME=VERSION. only_dsc: the file alone that names the others.
        """
        with self._held():
            words = ("-q", *["--dsc-only"] * only_dsc, "--download-only", "--only-source", "source", what)
            run(["apt-get", *self._options(), *words], timeout=600, cwd=directory, env=_environment())

    def lists_key(self) -> str:
        """Give a text that changes with the lists of packages and their sources."""
        if self.lists.private:
            places: Sequence[Path] = (self._updated, self._sources)
        else:
            places = (*_OWN_LISTS, *sorted(_OWN_LISTS[0].glob("*Packages*")))
        seen = [f"{path} {path.stat().st_mtime_ns}" for path in places if path.exists()]
        return "\n".join(seen)

    def require_lists(self, report: Reporter, *, newest: bool = False) -> bool:
        """See to it that there are lists; of a private apt they are updated once a day. Tell whether they were now.

        newest: update them unless that was minutes ago. Raises InputError for a release that does not exist, WorldError
        where there is no way to its lists.
        """
        if not self.lists.private:
            return False
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._lock(fcntl.LOCK_EX):
            age = time.time() - self._updated.stat().st_mtime if self._updated.exists() else None
            if age is not None and 0 <= age < (_NEWEST_S if newest else _FRESH_S):
                return False
            with report.step(f"Getting the package lists of {self._named}"):
                return self._update(there_are=age is not None)

    @property
    def advice(self) -> str:
        """What brings the lists up to date, as a hint."""
        if self.lists.private:
            return f"its lists are kept in {self.directory}, and are renewed if that is removed"
        return UPDATE

    @property
    def _named(self) -> str:
        return str(Lists(self.release, self.lists.architecture, self.lists.sources))

    @property
    def _updated(self) -> Path:
        return self.directory / "updated"

    @property
    def _sources(self) -> Path:
        return self.directory / "debian.sources"

    def _update(self, *, there_are: bool) -> bool:
        """Update the lists, without the suites that the archive turns out not to have."""
        for name in ("lists/partial", "cache/archives/partial"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        (self.directory / "status").touch()
        write_file(self.directory / "apt.conf", _CLEARED.encode(), "apt's settings")
        preferences = aptsources.preferences_for(self.release)
        write_file(self.directory / "preferences", preferences.encode(), "apt's preferences")
        archives, entries = _own_archives()
        first, *others = [suite for _, suite in aptsources.suites_of(self.release)]
        absent: set[str] = set()
        while True:
            types = "deb-src" if self.lists.sources else "deb"
            architecture = self.lists.architecture
            text = aptsources.sources_for(self.release, archives, entries, absent, architecture, types)
            if not text:
                raise WorldError(
                    "apt has no archive of Debian's among its sources, from which to get another release",
                    hint=f"add one to {_ETC / 'sources.list.d'}; {UPDATE}",
                )
            write_file(self._sources, text.encode(), "apt's sources")
            done = run(
                ["apt-get", *self._options(), "-q", "update"],
                timeout=_UPDATE_TIMEOUT,
                env=_environment(),
                check=False,
            )
            said = done.stderr.decode("utf-8", "replace")
            gone = {suite for suite in (first, *others) if self._lacks(said, suite)} - absent
            if first in gone:
                if not there_are:
                    shutil.rmtree(self.directory, ignore_errors=True)
                raise InputError(
                    f"the archive {archives[0].uri} has no release {self.release}",
                    hint=f"names are those of suites, as {', '.join(_examples(archives))}",
                )
            if not self._has_architecture(first):
                if not there_are:
                    shutil.rmtree(self.directory, ignore_errors=True)
                raise InputError(
                    f"the archive {archives[0].uri} has no packages of {self._named}",
                    hint="another release may have them: --release sid",
                )
            if not gone:
                break
            absent |= gone
        if done.status == 0 and "Failed to fetch" not in said:
            self._updated.touch()
            return True
        complaint = (
            "; ".join(line[3:] for line in said.splitlines() if line[:3] in ("E: ", "W: ")) or "nothing"
        )
        if not there_are:
            raise WorldError(
                f"cannot get the package lists of {self._named}; apt-get update says: {complaint}"
            )
        ui.note(f"the package lists of {self._named} could not be updated, older ones are used: {complaint}")
        return False

    def _lacks(self, said: str, suite: str) -> bool:
        """Tell whether apt says that an archive has no such suite."""
        name = re.escape(suite)
        if re.search(rf" {name} Release' (does not have|no longer has) a Release file", said):
            return True
        # of an archive that is trusted without signatures apt goes on to the lists
        gone = re.search(rf"/dists/{name}/\S+ +(404|File not found)", said) is not None
        return gone and not any((self.directory / "lists").glob(f"*_dists_{suite}_*Release"))

    def _has_architecture(self, suite: str) -> bool:
        """Tell whether a suite has the architecture, by what it says of itself: without it apt goes on, silently."""
        texts = (
            path.read_text("utf-8", "replace")
            for path in (self.directory / "lists").glob(f"*_dists_{suite}_*Release")
        )
        named = [match[1].split() for text in texts if (match := _ARCHITECTURES.search(text))]
        wanted = self.lists.architecture
        return not wanted or not named or any(wanted in words for words in named)

    def _options(self) -> list[str]:
        directory = self.directory
        if not self.lists.private:
            if _OWN_CACHE.exists():
                return []
            # turned off, as in images of containers: without it each question takes half a second
            directory.mkdir(parents=True, exist_ok=True)
            return ["-o", f"Dir::Cache::pkgcache={directory}/pkgcache.bin"]
        settings = {
            "Dir::State": f"{directory}/",
            "Dir::State::lists": f"{directory}/lists/",
            "Dir::State::status": f"{directory}/status",
            "Dir::Cache": f"{directory}/cache/",
            "Dir::Cache::archives": f"{directory}/cache/archives/",
            "Dir::Cache::pkgcache": f"{directory}/cache/pkgcache.bin",
            "Dir::Cache::srcpkgcache": "",
            "Dir::Etc::sourcelist": f"{self._sources}",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": f"{directory}/preferences",
            "Dir::Etc::preferencesparts": "/dev/null",
        }
        if self.lists.architecture:
            settings |= dict.fromkeys(("APT::Architecture", "APT::Architectures"), self.lists.architecture)
        if os.geteuid() == 0:
            settings["APT::Sandbox::User"] = "root"  # _apt may not enter the cache directory
        words = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        return ["-c", str(directory / "apt.conf"), *words]

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Keep updates away while apt reads."""
        if not self.lists.private:
            yield
            return
        with self._lock(fcntl.LOCK_SH):
            yield

    @contextmanager
    def _lock(self, how: int) -> Iterator[None]:
        with (self.directory / "lock").open("w") as stream:
            fcntl.flock(stream, how)
            yield


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8"}  # what apt says is read


def _own_archives() -> tuple[list[aptsources.Archive], list[aptsources.Entry]]:
    """Read where this machine gets Debian from, and how it trusts that."""
    words = ["apt-get", "indextargets", "--format", aptsources.INDEX_FORMAT]
    said = run(words, timeout=_ASK_TIMEOUT, env=_environment(), check=False).stdout.decode("utf-8", "replace")
    codename = _codename()
    entries: list[aptsources.Entry] = []
    for path in (_ETC / "sources.list", *sorted((_ETC / "sources.list.d").glob("*"))):
        if path.suffix in (".list", ".sources") and path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            entries += aptsources.parse_sources(text, deb822=path.suffix == ".sources")
    archives = aptsources.parse_targets(said, codename)
    return sorted(archives, key=lambda archive: archive.pocket != ""), entries


def _codename() -> str:
    """Give the code name of this machine's release, "" where it says none."""
    try:
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except OSError:
        return ""


def _own_release() -> str:
    """Give this machine's release, of which another architecture's packages are to be. Raises WorldError."""
    release = _codename() or next((one.codename for one in _own_archives()[0] if not one.pocket), "")
    if not release:
        raise WorldError(
            "this machine does not say which release of Debian it has (/etc/os-release)",
            hint="--release names the one that packages come from",
        )
    return release


def _examples(archives: Sequence[aptsources.Archive]) -> list[str]:
    own = [archive.codename for archive in archives if not archive.pocket]
    return [*own, *(f"{name}-backports" for name in own), "sid"]
