"""An interpreter of our own (`--python build`): built, the same bytes elsewhere, and every command run with it.

make test-interpreter; the first time it compiles CPython, in this user's cache.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hostbuild.apt import Lists
from hostbuild.errors import InputError, ToolMissingError, UsageError, WorldError
from hostbuild.fs.usage import entries_of
from hostbuild.image.build import BuiltImage, ImageOptions, build_image
from hostbuild.image.sources import own
from hostbuild.image.sources.extras import Extra
from hostbuild.kernels.kernel import Kernel
from hostbuild.pybuild import link
from hostbuild.pybuild.build import Built, require_built
from hostbuild.pybuild.setup_lines import reasons
from hostbuild.pybuild.source import BuildSpec, parse_build
from hostbuild.qemu.machine import read_machine
from hostbuild.ui import Silent
from tests.support.boots import vm_of
from tests.vm.test_interpreters import power_off, run_every_command

pytestmark = [
    pytest.mark.interpreter,
    pytest.mark.vm,
    pytest.mark.slow,
    pytest.mark.toolchain,
    pytest.mark.net,
    pytest.mark.timeout(3600),
]

# What a program says of itself in the guest. The kernel's interfaces are there; names of hosts and users are found
# without libraries of libc's that a static program would have to load.
_ASKED = """
import os, sys
import _socket as socket
assert sys.executable == "/usr/bin/python%d.%d" % sys.version_info[:2], sys.executable
assert (sys.prefix, sys.exec_prefix, sys.platlibdir) == ("/usr", "/usr", "lib")
assert sys.path[1:] == ["/somewhere", "/usr/lib/python%d.%d" % sys.version_info[:2]], sys.path
assert socket.AF_NETLINK == 16
assert os.pidfd_open(os.getpid()) > 2
assert socket.getaddrinfo(b"127.0.0.1", 80)  # as text it takes encodings.idna
assert os.path.expanduser("~root") in ("/root", "~root")
assert not sys.flags.isolated
print("as it should be")
"""
_IMPORTED = """
import importlib, sys
missing = set()
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as e:
        missing.add(e.name)
print(*sorted(missing))
"""


@pytest.fixture(scope="module")
def spec() -> BuildSpec:
    """What is built, as HOSTBUILD_TEST_PYTHON says it: an archive may lack the newest version that its lists name."""
    return parse_build(os.environ.get("HOSTBUILD_TEST_PYTHON", "build"))


@pytest.fixture(scope="module")
def built(spec: BuildSpec) -> Built:
    """An interpreter's parts, in this user's cache."""
    try:
        return require_built(spec, Lists(), Silent())
    except (ToolMissingError, InputError, WorldError) as e:
        pytest.skip(f"it cannot be built here: {e} ({e.hint})")


@pytest.fixture(scope="module")
def image(
    built: Built, spec: BuildSpec, debian_kernel: Kernel, tmp_path_factory: pytest.TempPathFactory
) -> BuiltImage:
    """An image with it, and with what goes into one besides: extras, a module by name, an overlay with a script."""
    assert built
    assert debian_kernel
    laid = tmp_path_factory.mktemp("laid")
    (laid / "usr/bin").mkdir(parents=True)
    script = laid / "usr/bin/told"
    script.write_text(
        "#!/usr/bin/python3\nimport hashlib, statistics\n"
        "print(statistics.mean([1, 2, 6]), hashlib.md5(b'').hexdigest()[:4])\n"
    )
    script.chmod(0o755)
    (laid / "usr/lib/fast.cpython-311-x86_64-linux-gnu.so").parent.mkdir(parents=True)
    (laid / "usr/lib/fast.cpython-311-x86_64-linux-gnu.so").write_bytes(b"")
    options = ImageOptions(
        "deb:linux-image-amd64",
        modules="virtio,loop",
        own=spec,
        python=("decimal",),
        overlays=(laid,),
        extras=(Extra.ROOT,),
    )
    return build_image(tmp_path_factory.mktemp("own") / "image.img", options)


def test_every_command_runs(image: BuiltImage) -> None:
    """None ends in a traceback; every module of the library imports, frozen or not; an overlay's script runs."""
    python = image.manifest["python"]
    with vm_of(image, read_machine("virtio"), append="quiet", limit_s=900) as vm:
        vm.settled(timeout=600)
        asked = vm.run(["env", "PYTHONPATH=/somewhere", "python3", "-S", "-c", _ASKED])
        assert (asked.status, asked.stdout, asked.stderr) == (0, b"as it should be\n", b"")
        told = vm.run(["told"])
        assert (told.status, told.stdout) == (0, b"3 d41d\n"), told
        names = [
            name for name in python["modules"] if "windows" not in name
        ]  # asyncio names them, for other systems
        done = vm.run(["python3", "-c", _IMPORTED, *names])
        assert done.status == 0, done.stderr.decode()
        missing = done.stdout.decode().split()  # asyncio imports ctypes on one of those systems
        assert set(missing) == set(reasons(missing)), missing
        run_every_command(vm, without=frozenset({"audit", "micronetd"}))
        power_off(vm)


def test_what_is_frozen_and_what_is_not(image: BuiltImage) -> None:
    """The daemon and what it imports lie in the program; what overlays, extras and --python add are files."""
    python = image.manifest["python"]
    files = {row["path"].lstrip("/") for row in image.manifest["files"]}
    library = f"usr/lib/python{python['version']}"
    frozen = set(python["built"]["frozen"])
    assert {"os", "encodings.utf_8", "modaliasd.cli", "microagent.agent", "modaliasd_boot"} <= frozen
    assert {f"{library}/statistics.pyc", f"{library}/decimal.pyc", f"{library}/hashlib.pyc"} <= files
    assert not frozen & {"statistics", "decimal", "hashlib"}
    assert not any(path.startswith("usr/lib/modaliasd/modaliasd") for path in files)
    assert not any("libpython" in path or "libz" in path or path.endswith("/libc.so.6") for path in files)
    assert any(
        "fast.cpython-311" in warning and "static" in warning for warning in image.manifest["warnings"]
    )
    assert python["built"]["source"]["name"].startswith(("python3.", "cpython"))


def test_what_it_cannot_have_is_refused(built: Built, spec: BuildSpec, tmp_path: Path) -> None:
    """Extras and modules that need a library of C's, each with its reason and what to do."""
    assert built
    for extra, why in ((Extra.AUDIT, "loads libudev while it runs"), (Extra.NETWORK, "needs libffi")):
        with pytest.raises(UsageError, match=f"--with {extra.value} does not go .*{why}"):
            own.check_extras([extra])
    options = ImageOptions("deb:linux-image-amd64", modules="none", own=spec, python=("ssl",))
    with pytest.raises(UsageError, match="cannot import ssl: _ssl needs OpenSSL") as caught:
        build_image(tmp_path / "x.img", options)
    assert "Debian's interpreter" in caught.value.hint
    with pytest.raises(UsageError, match="cannot import readline: readline needs readline"):
        build_image(tmp_path / "x.img", replace(options, python=("readline",)))
    assert not list(tmp_path.iterdir())


def test_the_same_bytes_elsewhere(
    built: Built, spec: BuildSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built in another cache, from another directory, with another umask: the same files, byte by byte."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a longer name than the usual"))
    monkeypatch.setenv("CFLAGS", "-O0 -DNONSENSE")
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o027)
    try:
        other = require_built(spec, Lists(), Silent())
    finally:
        os.umask(before)
    assert other.root != built.root
    ours, theirs = (
        {p.relative_to(r): p.read_bytes() for p in r.rglob("*") if p.is_file()}
        for r in (built.root, other.root)
    )
    assert ours.keys() == theirs.keys()
    assert [str(path) for path in ours if ours[path] != theirs[path]] == []
    frozen = [link.Frozen("x", b"\xe3", is_package=False)]
    programs = [
        link.link(one.root / "link", one.archives, one.libraries, frozen, ("array",), guest=True)
        for one in (built, other)
    ]
    assert programs[0] == programs[1]
    kinds = {entry.kind for entry in entries_of(tmp_path / "a longer name than the usual/hostbuild")}
    assert "python/built" in kinds
    shutil.rmtree(tmp_path / "a longer name than the usual", ignore_errors=True)
