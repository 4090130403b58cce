"""Debian packages without installing them: asked of apt, checked, unpacked into a cache.

    $XDG_CACHE_HOME/hostbuild/            ~/.cache/hostbuild by default
        apt-metadata.json                 what apt said, valid as long as its package lists do not change
        packages/NAME_VERSION_ARCH-SHA/   one unpacked package: the first 16 digits of the .deb's SHA-256 (sealed.py)

A package that is unpacked is not fetched again, unless somebody has changed what lies in the cache. apt verifies the
lists' signatures; the .deb is compared with the SHA-256 that stands in them. A directory appears under its name only
when it is complete, so that processes which work at the same time do not disturb one another.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from hostbuild.errors import HostbuildError, InputError, WorldError
from hostbuild.fs import sealed
from hostbuild.fs.files import write_file
from hostbuild.fs.growth import growth_of
from hostbuild.fs.scratch import scratch_directory
from hostbuild.near import did_you_mean
from hostbuild.run import run
from hostbuild.ui import Reporter, Silent, size

_LISTS = (
    Path("/var/lib/apt/lists"),
    Path("/etc/apt"),
    Path("/etc/apt/sources.list.d"),
    Path("/etc/apt/preferences.d"),
)
_UPDATE = "sudo apt-get update"
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?")  # Debian policy, 5.6.1; an architecture after it


@dataclass(frozen=True, slots=True)
class Package:
    """A package as apt's lists describe it. depends: the names it depends on, alternatives left out."""

    name: str
    version: str
    architecture: str
    sha256: str
    size: int
    depends: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def cache_directory() -> Path:
    """Return the directory of everything that hostbuild keeps between runs; made on first use."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(base) / "hostbuild"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise WorldError(
            f"cannot make the cache directory {directory}: {e.strerror}", hint="set XDG_CACHE_HOME"
        ) from e
    return directory


def describe(names: Sequence[str]) -> list[Package]:
    """Ask apt for the candidate versions of packages.

    Raises InputError for one that its lists do not know, with those that are called alike; WorldError where
    there are no lists.
    """
    for name in names:
        _check_name(name)
    known = _remembered()
    missing = [name for name in names if name not in known]
    if missing:
        asked = run(["apt-cache", "show", "--no-all-versions", *missing], timeout=60, check=False)
        known |= {package.name: package for package in parse_stanzas(asked.stdout.decode())}
        unknown = [name for name in missing if name not in known]
        if unknown:
            raise _unknown(unknown, asked.stderr.decode("utf-8", "replace"))
        _remember(known)
    return [known[name] for name in names]


def describe_exact(name: str, version: str, sha256: str) -> Package:
    """Ask apt for one version of a package, an old one perhaps. Raises WorldError where it is not to be had."""
    _check_name(name)
    asked = run(["apt-cache", "show", f"{name}={version}"], timeout=60, check=False)
    stanzas = list(parse_stanzas(asked.stdout.decode("utf-8", "replace")))
    found = next((package for package in stanzas if package.sha256 == sha256), None)
    if found is None:
        why = "has another SHA-256 there" if stanzas else "is not in apt's lists (any more)"
        raise WorldError(f"{name} {version} {why}", hint=_UPDATE)
    return found


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
        return sealed.publish(complete, final)


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
        )


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} is not a valid Debian package name", hint="deb:linux-image-amd64")


def _unknown(names: Sequence[str], said: str) -> HostbuildError:
    """Make the error for packages that apt does not know: whose fault it is depends on whether it knows any."""
    message = f"apt does not know the package{'s' * (len(names) > 1)} {', '.join(names)}"
    prefix = names[0][:3]  # all names are too many to compare
    known = run(["apt-cache", "pkgnames", prefix], timeout=60, check=False).stdout.decode().split()
    if not known and not run(["apt-cache", "pkgnames", "b"], timeout=60, check=False).stdout:
        return WorldError(f"{message}: it has no package lists", hint=_UPDATE)
    last = said.strip().splitlines()[-1:] or ["nothing"]
    near = did_you_mean(names[0], (name for name in known if name not in names))
    return InputError(f"{message}{near} (apt-cache says: {last[0]})", hint=f"{_UPDATE}, if its lists are old")


def _fetch(package: Package, directory: Path) -> Path:
    # _apt, the user that apt downloads as, may not enter a cache directory of root's
    as_root = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
    words = ["apt-get", *as_root, "-q", "download", f"{package.name}={package.version}"]
    run(words, timeout=600, cwd=directory)
    files = list(directory.glob("*.deb"))
    if len(files) != 1:
        raise WorldError(f"apt-get download {package.name} left {len(files)} files, not one", hint=_UPDATE)
    with files[0].open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != package.sha256:
        raise WorldError(
            f"{files[0].name} has SHA-256 {found}, but apt's lists say {package.sha256}: not used",
            hint=_UPDATE,
        )
    return files[0]


def publish(complete: Path, final: Path) -> None:
    """Give a complete directory its name; another process may have been quicker, with the same content."""
    complete.chmod(0o755)
    try:
        complete.rename(final)
    except OSError:
        if not final.is_dir():
            raise


def lists_key() -> str:
    """Return a digest that changes with apt's package lists and its sources."""
    seen = [f"{path} {path.stat().st_mtime_ns}" for path in _LISTS if path.exists()]
    seen += [
        f"{entry.name} {entry.stat().st_mtime_ns}"
        for entry in sorted(_LISTS[0].glob("*Packages*"))
        if entry.is_file()
    ]
    return hashlib.sha256("\n".join(seen).encode()).hexdigest()


def _remembered() -> dict[str, Package]:
    # asking apt takes a second where its binary cache is turned off, as in containers
    try:
        kept = json.loads((cache_directory() / "apt-metadata.json").read_text())
        if kept["lists"] != lists_key():
            return {}
        return {
            item["name"]: Package(**{**item, "depends": tuple(item["depends"])}) for item in kept["packages"]
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _remember(known: dict[str, Package]) -> None:
    kept = {"lists": lists_key(), "packages": [asdict(package) for package in known.values()]}
    with suppress(HostbuildError):  # it saves a second next time, and no more
        write_file(cache_directory() / "apt-metadata.json", json.dumps(kept).encode(), "apt's answers")
