"""Debian's arm64 boards: what their device trees ask of its kernel, held against libkmod."""

import pytest

from hostbuild.arch import Arch
from hostbuild.errors import WorldError
from hostbuild.kernels.kernel import Kernel, require_kernel
from hostbuild.predict.file import read_capture
from hostbuild.predict.simulate import predict
from hostbuild.predict.target import open_kernel
from hostbuild.ui import Silent
from scripts.board_table import trees_of_debian
from tests.support.libkmod import kmod

pytestmark = [pytest.mark.net, pytest.mark.slow]


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    """Debian's kernel for arm64."""
    try:
        return require_kernel(f"deb:{Arch.ARM64.facts.kernel}", None, Silent())
    except WorldError as e:
        pytest.skip(f"the architecture's packages are out of reach: {e}")


def test_every_modalias_as_libkmod_has_it(kernel: Kernel) -> None:
    """All modaliases of all boards have the modules that libkmod finds in the kernel's own indexes, in its order."""
    assert kernel.indexes is not None
    resolver = open_kernel(kernel, {}).resolver
    modaliases = {
        device.modalias for _, _, devices in trees_of_debian() for device in devices if device.modalias
    }
    assert len(modaliases) > 4000
    with kmod(kernel.indexes) as oracle:
        answers = {one: oracle.answer(one.encode()) for one in modaliases}
    ours = {one: [match.module for match in resolver.resolve(one).matches] for one in modaliases}
    wrong = {one: (ours[one], found) for one, found in answers.items() if set(ours[one]) != set(found)}
    assert wrong == {}
    assert sum(map(bool, answers.values())) > 1000


def test_a_raspberry_pi(kernel: Kernel) -> None:
    """The network card, the SD card's and the display's drivers are named by the tree alone."""
    root = kernel.vmlinuz.parents[1]
    board = next(root.glob("usr/lib/**/bcm2711-rpi-4-b.dtb"))
    prediction = predict(read_capture(board), open_kernel(kernel, {}))
    assert {"genet", "sdhci_iproc", "vc4", "hci_uart"} <= set(prediction.modules)
    assert prediction.lost == []
