"""The pytest plugin: fixtures `guest`, `machine`, `image`, `make_image`, `build_module`; marks; a failure's report.

pytest imports it wherever the package is installed (entry point `pytest11`). So it imports next to nothing, and does
nothing for tests that ask for none of its fixtures: no option of theirs changes, no image is built.

    image     the path of an image, built once and kept           @pytest.mark.kernel, @pytest.mark.image
    machine   the hardware (hostbuild.testing.Machine)            @pytest.mark.machine
    guest     a guest that has settled (hostbuild.testing.Guest)  @pytest.mark.guest

A project that has an image, or a machine, of its own overrides the fixture of that name; `guest` takes what it gives.
"""

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, ParamSpec, TypeVar

import pytest

from hostbuild.errors import HostbuildError
from hostbuild.testing.marks import MARKERS, GuestWish, ImageWish, MachineWish, checked, names_in, wish_of
from hostbuild.testing.readable import words_of

if TYPE_CHECKING:
    from hostbuild.qemu.machine import Machine
    from hostbuild.testing.guest import Guest
    from hostbuild.testing.pool import Pool

_P = ParamSpec("_P")
_R = TypeVar("_R")

_MACHINE = "empty"  # what the chipset brings, and free ports: the ground to plug into
_HELD = pytest.StashKey[
    tuple["Guest", int]
]()  # a test's guest, and how many records there were when it began


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's options, all called --guest-..., and its key of the configuration file."""
    group = parser.getgroup("guest", "guests of hostbuild's (hotplug tests)")
    group.addoption(
        "--guest-kernel",
        action="append",
        metavar="KERNEL",
        help="test on this kernel: deb:PACKAGE, running, or the path of a vmlinuz; several: on each. "
        "Marks on tests count before it.",
    )
    group.addoption(
        "--guest-image", metavar="FILE", help="boot this image of make-image's in place of those of marks."
    )
    group.addoption(
        "--guest-machine",
        metavar="NAME|FILE",
        help="The machine of tests whose marks name none.",
    )
    group.addoption(
        "--guest-accel",
        choices=["auto", "kvm", "tcg"],
        default="auto",
        help="hardware virtualisation, or emulation.",
    )
    parser.addini(
        "guest_kernel", "kernels to test on, one a line, as --guest-kernel", type="linelist", default=[]
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks."""
    for line in MARKERS:
        config.addinivalue_line("markers", line)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have a test with several kernels or machines run once for each of them, all tests of one before the next."""
    item = metafunc.definition
    with contextlib.suppress(HostbuildError):  # the fixture says what is wrong with the mark
        for fixture, names in (("guest_kernel", _kernels), ("guest_machine", _machines)):
            if fixture in metafunc.fixturenames and len(several := names(item)) > 1:
                metafunc.parametrize(fixture, several, indirect=True, scope="module")


@pytest.fixture
def guest_kernel(request: pytest.FixtureRequest) -> str | None:
    """Which kernel images are built for, by mark, option or configuration; None for make-image's choice."""
    if hasattr(request, "param"):
        return str(request.param)
    return next(iter(_in_words(_kernels)(request.node)), None)


@pytest.fixture
def guest_machine(request: pytest.FixtureRequest) -> str:
    """Which machine the mark names, or its file."""
    if hasattr(request, "param"):
        return str(request.param)
    named = request.config.getoption("--guest-machine")
    return next(iter(_in_words(_machines)(request.node)), str(named) if named else _MACHINE)


@pytest.fixture
def machine(request: pytest.FixtureRequest, guest_machine: str) -> "Machine":
    """Return the hardware that @pytest.mark.machine asks for; else what the chipset brings, and four free ports."""
    return _in_words(_machine)(request, guest_machine)


@pytest.fixture
def image(request: pytest.FixtureRequest, guest_kernel: str | None) -> Path:
    """Return the path of an image of what @pytest.mark.image and .kernel ask for: built once, and kept in the cache."""
    return _in_words(_image)(request, guest_kernel)


@pytest.fixture(scope="session")
def make_image(request: pytest.FixtureRequest) -> Callable[..., Path]:
    """Return a function that builds an image, or finds it in the cache: make_image(kernel=..., overlay=..., ...).

    For projects that override `image`: its keywords are those of @pytest.mark.image, and `kernel`.
    """
    root = request.config.rootpath
    kernels = _kernels_of(request.config)

    def make(*, kernel: str | None = None, **keywords: object) -> Path:
        __tracebackhide__ = True
        from hostbuild.image.kept import require_image
        from hostbuild.testing.images import options_of

        wish = checked("make_image", ImageWish, keywords, root)
        return require_image(options_of(wish, kernel or next(iter(kernels), None)))

    return _in_words(make)


@pytest.fixture(scope="session")
def build_module(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Return a function that builds an external module and gives an overlay that has it: build_module("driver/").

    Its directory has a Makefile as kbuild wants it (obj-m). kernel: the one it is built for, a Debian package's.
    It is built once a run. The overlay is for make_image(overlay=...).
    """
    root = request.config.rootpath
    kernels = _kernels_of(request.config)
    built: dict[tuple[Path, str | None], Path] = {}

    def build(directory: str | Path, *, kernel: str | None = None) -> Path:
        __tracebackhide__ = True
        from hostbuild.kbuild.external import build_overlay
        from hostbuild.kernels.kernel import require_kernel
        from hostbuild.ui import Silent

        source, name = root / directory, kernel or next(iter(kernels), None)
        if (source, name) not in built:
            chosen = require_kernel(name, None, Silent())
            built[source, name] = build_overlay(source, chosen, tmp_path_factory.mktemp("module"))
        return built[source, name]

    return _in_words(build)


@pytest.fixture(scope="module")
def _module_guests() -> Iterator["Pool"]:
    """Keep the guests that a module's tests share."""
    from hostbuild.testing.pool import Pool

    with Pool() as pool:
        yield pool


@pytest.fixture
def _own_guest() -> Iterator["Pool"]:
    """Keep a test's own guest."""
    from hostbuild.testing.pool import Pool

    with Pool() as pool:
        yield pool


@pytest.fixture
def guest(request: pytest.FixtureRequest, image: object, machine: "Machine") -> Iterator["Guest"]:
    """Boot a guest of `image` on `machine` and give it once it has settled; after the test it is gone.

    With @pytest.mark.guest(shared=True) it is one for all tests of the module, and what a test plugged in is taken out.
    """
    node = request.node
    wish = _in_words(wish_of)("guest", GuestWish, node.iter_markers("guest"), node.path.parent)
    accel = str(request.config.getoption("--guest-accel"))
    pool: Pool = request.getfixturevalue("_module_guests" if wish.shared else "_own_guest")
    held = _in_words(pool.require)(image, machine, wish, accel, next(iter(_kernels(node)), None))
    node.stash[_HELD] = (held, len(held.vm.ledger))
    yield held
    if not wish.shared:
        return
    pool.give_back(held)
    if held.spoilt:
        warnings.warn(
            f"the shared guest ends here, and the next test has another: {held.spoilt}", stacklevel=1
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add what its guest says to the report of a test that failed."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    held = item.stash.get(_HELD, None)
    if report.failed and report.when == "call" and held is not None:
        from hostbuild.testing.story import sections

        report.sections += sections(*held)
    return report  # type: ignore[return-value]


# Inside


def _in_words(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Have a fixture's errors fail the test in words, without the way they came."""

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        __tracebackhide__ = True
        try:
            return function(*args, **kwargs)
        except HostbuildError as e:
            failure = words_of(e)
        except ModuleNotFoundError as e:
            failure = (
                f"hostbuild's own packages are not installed ({e})\nhint: pip install 'modaliasd[pytest]'"
            )
        _fail(failure)

    return call


def _fail(message: str) -> NoReturn:
    pytest.fail(message, pytrace=False)


def _kernels(item: pytest.Item) -> tuple[str, ...]:
    return names_in("kernel", item.iter_markers("kernel")) or _kernels_of(item.config)


def _machines(item: pytest.Item) -> tuple[str, ...]:
    return names_in("machine", item.iter_markers("machine"))


def _kernels_of(config: pytest.Config) -> tuple[str, ...]:
    """Return the kernels that the command line names, or the configuration file."""
    return tuple(config.getoption("--guest-kernel") or config.getini("guest_kernel"))


def _machine(request: pytest.FixtureRequest, name: str) -> "Machine":
    from hostbuild.testing.pool import machine_of

    node = request.node
    wish = wish_of("machine", MachineWish, node.iter_markers("machine"), node.path.parent, names=True)
    beside = node.path.parent / name
    return machine_of(str(beside) if name.endswith(".toml") and beside.is_file() else name, wish)


def _image(request: pytest.FixtureRequest, kernel: str | None) -> Path:
    from hostbuild.image.kept import require_image
    from hostbuild.testing.images import options_of

    given = request.config.getoption("--guest-image")
    if given:
        return Path(str(request.config.invocation_params.dir / given))
    node = request.node
    return require_image(
        options_of(wish_of("image", ImageWish, node.iter_markers("image"), node.path.parent), kernel)
    )
