"""hostbuild/apt.py: other releases' packages by a private apt; the real apt, and archives on this disk."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostbuild import apt, debs
from hostbuild.apt import Lists, Spec, parse_spec
from hostbuild.errors import InputError, WorldError
from hostbuild.formats.aptsources import Archive, Entry
from tests.support.programs import require_program

PACKAGE = "Package: hello\nVersion: {}\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n"


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("linux-image-amd64", Spec("linux-image-amd64")),
        ("busybox-static/sid", Spec("busybox-static", release="sid")),
        ("kmod=34.2-2", Spec("kmod", "34.2-2")),
        ("x11=1:2~rc1+b1/bookworm-backports", Spec("x11", "1:2~rc1+b1", "bookworm-backports")),
    ],
)
def test_specs(text: str, spec: Spec) -> None:
    """A package, its version and its release, as apt writes them, and both together."""
    assert parse_spec(text) == spec
    assert str(spec) == text


@pytest.mark.parametrize(
    "text", ["", "-o", "A/sid", "kmod/", "kmod/../x", "kmod/Sid", "kmod=", "kmod= 1", "kmod=x", "kmod/sid=1"]
)
def test_specs_that_are_none(text: str) -> None:
    """Nothing that apt would take for an option, a path or nonsense gets through."""
    with pytest.raises(InputError, match="not a valid"):
        parse_spec(text)


@pytest.mark.parametrize("release", ["..", "a/../..", "-x", "A"])
def test_a_release_is_no_path(release: str) -> None:
    """One that a manifest brings along, for example, leads nowhere."""
    with pytest.raises(InputError, match="not a valid name of a Debian release"):
        debs.describe_exact("hello", "1", "", Lists(release))
    with pytest.raises(InputError, match="not a valid name of a Debian release"):
        debs.describe(["hello"], Lists(release))


class Archives:
    """A machine that gets its packages from an archive on this disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.options: dict[str, str] = {"Trusted": "yes"}

    def publish(self, suite: str, version: str, *, packages: str | None = None) -> None:
        """Put hello into a suite of the archive."""
        tree = self.root / "tree"
        (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
        (tree / "DEBIAN/control").write_text(PACKAGE.format(version))
        (tree / "hello").write_text(f"hello {version}\n")
        deb = self.root / f"pool/hello_{version}.deb"
        deb.parent.mkdir(exist_ok=True)
        subprocess.run(["dpkg-deb", "-b", tree, deb], check=True, capture_output=True, timeout=20)
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        place = f"Filename: pool/{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n"
        text = (PACKAGE.format(version) + place) if packages is None else packages
        listing = self.root / f"dists/{suite}/main/binary-{self.architecture}/Packages"
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text(text)
        inside = listing.relative_to(self.root / "dists" / suite)
        sums = f" {hashlib.sha256(text.encode()).hexdigest()} {len(text)} {inside}\n"
        head = f"Origin: Debian\nSuite: {suite}\nCodename: {suite}\n"
        head += f"Components: main\nArchitectures: {self.architecture}\n"
        date = "Date: Thu, 01 Jan 2026 00:00:00 UTC\n"
        (self.root / f"dists/{suite}/Release").write_text(f"{head}{date}SHA256:\n{sums}")

    @property
    def architecture(self) -> str:
        """This machine's, as dpkg calls it."""
        said = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
        return said.stdout.strip()

    def sources(self) -> tuple[list[Archive], list[Entry]]:
        """What apt.py would find in /etc/apt."""
        uri = f"file:{self.root}/"
        return [Archive("", uri, "own", "own")], [Entry((uri,), ("own",), self.options)]


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archives]:
    """A cache of its own, and an archive that has release `next` with hello 2."""
    for program in ("apt-get", "apt-cache", "dpkg-deb", "dpkg"):
        require_program(program)
    found = Archives(tmp_path / "archive")
    found.publish("next", "2")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(apt, "_own_archives", found.sources)
    before = {path: path.stat().st_mtime_ns for path in Path("/etc/apt").rglob("*")}
    yield found
    assert {path: path.stat().st_mtime_ns for path in Path("/etc/apt").rglob("*")} == before


def hello(version: str = "", release: str = "next") -> debs.Package:
    return debs.describe_spec(Spec("hello", version, release))


def age(release: str = "next") -> Path:
    """Make the lists of a release two days old; give the file that says so."""
    updated = debs.cache_directory() / "apt" / release / "updated"
    os.utime(updated, (updated.stat().st_mtime - 2 * 86400,) * 2)
    return updated


def test_a_package_of_another_release(archives: Archives) -> None:
    """It is described, fetched, checked and unpacked, and knows where it is from; apt is asked once."""
    package = hello()
    assert (package.version, package.lists.release) == ("2", "next")
    assert (debs.require_unpacked(package) / "hello").read_text() == "hello 2\n"
    (archives.root / "dists").rename(archives.root / "gone")
    assert hello("2") == package
    assert debs.describe_exact("hello", "2", package.sha256, Lists("next")) == package


def test_a_release_that_there_is_not(archives: Archives) -> None:
    """It is named as the caller's mistake, with the archive, and leaves nothing."""
    with pytest.raises(InputError, match=r"archive file:.* has no release nxt$") as caught:
        hello(release="nxt")
    assert "own, own-backports, sid" in caught.value.hint
    assert not (debs.cache_directory() / "apt/nxt").exists()
    assert archives.root.is_dir()


def test_what_is_not_signed_is_refused(archives: Archives) -> None:
    """Without a signature that this machine's keys know apt takes no list, and its words come through."""
    archives.options = {}
    with pytest.raises(WorldError, match=r"cannot get the package lists of next; .* is not signed"):
        hello()
    archives.options = {"Signed-By": "/nowhere.gpg"}
    with pytest.raises(WorldError, match="not signed"):
        hello()


def test_lists_are_renewed(archives: Archives) -> None:
    """After a day, or where a package is missing that may have come since."""
    hello()
    archives.publish("next", "3")
    assert hello().version == "2"
    age()
    assert hello().version == "3"
    archives.publish("next", "4")
    with pytest.raises(InputError, match="does not know the package hello=4 in next") as caught:
        hello("4")  # the lists are seconds old
    assert caught.value.hint == "there is 3"
    updated = age()
    os.utime(updated, (updated.stat().st_mtime + 86400 + 3600,) * 2)
    assert hello("4").version == "4"


def test_without_a_way_to_the_archive_old_lists_do(
    archives: Archives, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was known two days ago is known, and the trouble is told; with no lists at all it is an error."""
    hello()
    age()
    archives.publish("next", "3")
    listing = next(archives.root.glob("dists/next/main/*/Packages"))
    listing.write_text("not what Release says")
    assert hello().version == "2"
    assert "the package lists of next could not be updated, older ones are used" in capsys.readouterr().err
    monkeypatch.setattr(apt, "_own_archives", lambda: ([], []))
    with pytest.raises(WorldError, match="no archive of Debian's among its sources"):
        hello(release="another")


def test_what_builds_upon_a_release(archives: Archives) -> None:
    """Of backports the newer is taken though they are not automatic, and of their release what only that has."""
    archives.publish("next-backports", "2.5")
    release = archives.root / "dists/next-backports/Release"
    release.write_text("NotAutomatic: yes\nButAutomaticUpgrades: yes\n" + release.read_text())
    assert hello(release="next-backports").version == "2.5"
    archives.publish("old-backports", "0", packages="")
    archives.publish("old", "1")
    assert hello(release="old-backports").version == "1"


def test_settings_of_this_machine_do_not_matter(
    archives: Archives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A default release, preferences and hooks are those of this machine's own apt."""
    assert archives.root.is_dir()
    conf = tmp_path / "apt.conf"
    conf.write_text(
        f'APT::Default-Release "own";\nAPT::Update::Post-Invoke {{"touch {tmp_path}/hook";}};\n'
        f'APT::Update::Pre-Invoke {{"touch {tmp_path}/hook";}};\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(conf))
    assert hello().version == "2"
    assert not (tmp_path / "hook").exists()


def test_dependencies_keep_their_versions(archives: Archives, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dependency is asked for in its package's release, in the version that it is pinned to."""
    assert archives.root.is_dir()
    text = PACKAGE.format(2) + "Size: 1\nSHA256: aa\nDepends: aa (= 2), bb (>= 1), cc:any (= 2:1-1) | dd\n"
    [package] = debs.parse_stanzas(text)
    assert package.depends == ("aa", "bb", "cc")
    assert package.pinned == (("aa", "2"),)
    asked: list[list[str]] = []

    def describe(names: list[str], *_more: object) -> list[debs.Package]:
        asked.append(names)
        return [package]

    monkeypatch.setattr(debs, "describe", describe)
    debs.describe_dependency(package, "aa")
    debs.describe_dependency(package, "bb")
    assert asked == [["aa=2"], ["bb"]]
