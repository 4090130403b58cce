"""What tests share: Debian's kernel from the cache, and one default image, built once for all processes."""

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

from hostbuild.formats.manifest import manifest_path, read_manifest
from hostbuild.image.build import BuiltImage, ImageOptions, build_image
from hostbuild.kernels.kernel import Kernel, require_kernel
from hostbuild.qemu.vm import VM
from hostbuild.ui import Silent
from tests.support.privileges import refusals
from tests.support.schema import check_records


@pytest.fixture(scope="session", autouse=True)
def ledgers_are_valid() -> Iterator[None]:
    """Hold the ledger of every guest with the daemon against the schema when its machine ends, whatever the test.

    Guests of a shell script write records of their own, without the daemon's version.
    """
    leave = VM.__exit__

    def check_and_leave(
        vm: VM, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leave(vm, kind, error, trace)
        if error is None and any(record.get("version") for record in vm.ledger[:1]):
            check_records(vm.ledger)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VM, "__exit__", check_and_leave)
        yield


# The machine tests that take longest, in minutes. With two workers they begin first, and the short ones fill the gaps.
LONGEST = (
    "from_source",
    "storms",
    "faults",
    "full_system",
    "hotplug_matrix",
    "predict_vm",
    "requested_vm",
    "same_as_udev",
    "both_modprobes",
)


# Seconds that a test may take with its fixtures (downloads, builds of kernels, boots of whole zoos), on a busy machine:
# what takes longer hangs.
TIME_LIMITS = {"vm": 2400, "slow": 1200}
TIME_LIMIT = 600


def pytest_configure() -> None:
    """Ignore no signal that tests send, though whoever started us may: a shell's `&`, nohup. Children inherit that."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def pytest_report_header() -> list[str]:
    """Tell at the beginning what this machine refuses: the tests that need it are skipped."""
    return [f"some tests will be skipped: {reason}" for reason in refusals()]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long before short: those of LONGEST, then all other machine tests, then the rest; each in its own order.

    Each has a time limit, if --timeout says nothing else.
    """
    for item in items:
        if isinstance(item, pytest.Function) and is_hypothesis_test(item.obj):
            item.add_marker(pytest.mark.fuzz)
    if config.getoption("timeout") is None:
        for item in items:
            kinds = [seconds for mark, seconds in TIME_LIMITS.items() if item.get_closest_marker(mark)]
            item.add_marker(pytest.mark.timeout(max(kinds, default=TIME_LIMIT)))

    def place(item: pytest.Item) -> int:
        if item.path.parent.name != "vm":
            return len(LONGEST) + 1
        name = item.path.stem.removeprefix("test_")
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    items.sort(key=place)


# No test depends on how fast this machine is, or on what else it does.
settings.register_profile("usual", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("usual")
settings.register_profile(  # make test-fast
    "fast", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("long", max_examples=20_000, deadline=None)  # make fuzz
settings.register_profile(  # make mutants: what is found follows from the code alone
    "same",
    max_examples=40,  # each of some hundred mutants runs them all
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
    database=None,
)
settings.register_profile("shortest", max_examples=1, deadline=None)  # the proof that it can be started


@pytest.fixture(scope="session")
def debian_kernel() -> Kernel:
    """Debian's kernel package, unpacked in hostbuild's cache, with its modules and their indexes."""
    return require_kernel("deb:linux-image-amd64", None, Silent())


@pytest.fixture(scope="session")
def image(debian_kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    """The default image, as `hostbuild make-image` builds it. Read-only for tests."""
    shared = _shared_directory(tmp_path_factory)
    path = shared / "default.img"
    with _lock(shared / "default.lock"):
        if not path.exists():
            return build_image(path, ImageOptions(kernel="deb:linux-image-amd64"))
    return BuiltImage(path, manifest_path(path), debian_kernel, read_manifest(path))


def _shared_directory(factory: pytest.TempPathFactory) -> Path:
    """Give the directory of this test run; xdist's workers have directories of their own below it."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
