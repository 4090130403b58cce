"""An interpreter of our own (`--python build`): built, the same bytes elsewhere, and every command run with it.

make test-interpreter; the first time it compiles CPython, in this user's cache.
"""

import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hostbuild.apt import Lists
from hostbuild.errors import InputError, ToolMissingError, UsageError, WorldError
from hostbuild.fs.usage import entries_of
from hostbuild.image.build import BuiltImage, ImageOptions, build_image
from hostbuild.image.sources.extras import Extra
from hostbuild.kernels.kernel import Kernel
from hostbuild.pybuild import link, toolchain
from hostbuild.pybuild.build import Built, require_built
from hostbuild.pybuild.loading import require_loading
from hostbuild.pybuild.setup_lines import reasons
from hostbuild.pybuild.source import BuildSpec, parse_build
from hostbuild.qemu.machine import read_machine
from hostbuild.run import run
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


_BUILD = """
import os, sys
os.umask(0o027)
from hostbuild.apt import Lists
from hostbuild.pybuild.build import require_built
from hostbuild.pybuild.source import parse_build
from hostbuild.ui import Silent
require_built(parse_build(sys.argv[1]), Lists(), Silent())
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
    assert python["built"]["source"]["name"].startswith(("python3.", "cpython"))
    assert len(python["built"]["profile"]) == 64  # it could be trained


def test_what_it_cannot_have_is_refused(built: Built, spec: BuildSpec, tmp_path: Path) -> None:
    """Modules that need a library of C's, each with its reason and what to do."""
    assert built
    options = ImageOptions("deb:linux-image-amd64", modules="none", own=spec, python=("ssl",))
    with pytest.raises(UsageError, match="cannot import ssl: _ssl needs OpenSSL") as caught:
        build_image(tmp_path / "x.img", options)
    assert "Debian's interpreter" in caught.value.hint
    with pytest.raises(UsageError, match="cannot import readline: readline needs readline"):
        build_image(tmp_path / "x.img", replace(options, python=("readline",)))
    assert not list(tmp_path.iterdir())


def test_what_loads_libraries_runs(
    built: Built, spec: BuildSpec, debian_kernel: Kernel, tmp_path: Path
) -> None:
    """With audit and network: every command runs, audit by libudev; a card gets its address by DHCP.

    So does an overlay's script with ctypes, and a module in C that is compiled against the interpreter's headers.
    """
    assert debian_kernel
    laid = tmp_path / "laid"
    _lay_module_in_c(built, laid / "usr/lib/python3/dist-packages")
    (laid / "usr/bin").mkdir(parents=True)
    script = laid / "usr/bin/told"
    script.write_text(
        "#!/usr/bin/python3\nimport ctypes, sys\n"
        'sys.path.append("/usr/lib/python3/dist-packages")\nimport fast\n'
        "got = []\nkind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))\n"
        "row = (ctypes.c_int * 3)(3, 1, 2)\n"
        "ctypes.CDLL(None).qsort(row, 3, 4, kind(lambda a, b: a[0] - b[0]))\n"
        "print(list(row), fast.seven())\n"
    )
    script.chmod(0o755)
    options = ImageOptions(
        "deb:linux-image-amd64",
        modules="virtio,loop",
        own=spec,
        overlays=(laid,),
        extras=(Extra.AUDIT, Extra.NETWORK, Extra.ROOT),
    )
    image = build_image(tmp_path / "image.img", options)
    with vm_of(image, read_machine("virtio"), append="quiet ip=dhcp", limit_s=900) as vm:
        vm.settled(timeout=600)
        told = vm.run(["told"])
        assert (told.status, told.stdout) == (0, b"[1, 2, 3] 7\n"), told
        audited = vm.run(["modaliasd", "audit"])
        assert audited.status == 0, audited
        deadline = time.monotonic() + 120
        while b"10.0.2." not in vm.run(["ip", "-4", "addr", "show", "dev", "eth0"]).stdout:
            assert time.monotonic() < deadline, vm.console[-3000:]
            time.sleep(0.5)
        run_every_command(vm)
        power_off(vm)


def _lay_module_in_c(built: Built, directory: Path) -> None:
    directory.mkdir(parents=True)
    source = directory / "fast.c"
    source.write_text(
        "#include <Python.h>\n"
        "static PyObject *seven(PyObject *self, PyObject *none) { return PyLong_FromLong(7); }\n"
        'static PyMethodDef all[] = {{"seven", seven, METH_NOARGS, 0}, {0}};\n'
        'static struct PyModuleDef fast = {PyModuleDef_HEAD_INIT, "fast", 0, -1, all};\n'
        "PyMODINIT_FUNC PyInit_fast(void) { return PyModule_Create(&fast); }\n"
    )
    ending = f"cpython-{built.short.replace('.', '')}-x86_64-linux-gnu.so"
    words = ["-shared", "-fPIC", f"-I{built.root / 'link/include'}"]
    run(["gcc", *words, "-o", directory / f"fast.{ending}", source], timeout=60)
    source.unlink()


def test_only_who_asks_is_linked_dynamically(
    built: Built, spec: BuildSpec, debian_kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --python ctypes the program has a loader and libraries, and is smaller; where libffi's headers are missing
    the error names their package, before anything is built.
    """
    assert debian_kernel
    plain = ImageOptions("deb:linux-image-amd64", modules="none", own=spec)
    images = [
        build_image(tmp_path / f"{name}.img", one)
        for name, one in (("plain", plain), ("loads", replace(plain, python=("ctypes",))))
    ]
    kinds = [
        {Path(row["path"]).name for row in one.manifest["files"] if ".so." in row["path"]} for one in images
    ]
    assert kinds[0] == set()
    assert {"libc.so.6", "libffi.so.8", "ld-linux-x86-64.so.2"} <= kinds[1]
    own_size, other_size = (
        next(row["size"] for row in one.manifest["files"] if row["path"].endswith(f"python{built.short}"))
        for one in images
    )
    assert other_size < own_size
    assert "_ctypes" in images[1].manifest["python"]["modules"]
    assert "_ctypes" not in images[0].manifest["python"]["modules"]
    monkeypatch.setattr(toolchain, "_FOR_LOADING", ("libffi-dev", "no-such-ffi.h", "libffi.so"))
    with pytest.raises(ToolMissingError, match="libffi-dev is missing"):
        build_image(tmp_path / "x.img", replace(plain, extras=(Extra.AUDIT,)))


def test_the_same_bytes_elsewhere(
    built: Built, spec: BuildSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built in another cache, from another directory, with another umask and at the lowest priority: the same files.

    So are the counters that it was optimized by; their digest is in one of them.
    """
    here = require_loading(built, Silent())
    archive, program = (here.root / "link/lib_ctypes.a").read_bytes(), here.program.read_bytes()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a longer name than the usual"))
    monkeypatch.setenv("CFLAGS", "-O0 -DNONSENSE")
    monkeypatch.chdir(tmp_path)
    paths = os.pathsep.join(path for path in sys.path if path)
    words = [
        "nice",
        "-n",
        "19",
        sys.executable,
        "-c",
        _BUILD,
        os.environ.get("HOSTBUILD_TEST_PYTHON", "build"),
    ]
    run(words, timeout=3000, env=os.environ | {"PYTHONPATH": paths})
    other = require_built(spec, Lists(), Silent())  # finds what that has built
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
    loading = require_loading(other, Silent())
    assert (loading.root / "link/lib_ctypes.a").read_bytes() == archive
    assert loading.program.read_bytes() == program
    kinds = {entry.kind for entry in entries_of(tmp_path / "a longer name than the usual/hostbuild")}
    assert "python/built" in kinds
    shutil.rmtree(tmp_path / "a longer name than the usual", ignore_errors=True)
