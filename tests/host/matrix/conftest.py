"""What the tests of matrices share: plans of a file's text, with one image for all kernels."""

from dataclasses import replace
from pathlib import Path

import pytest

from hostbuild.arch import Arch
from hostbuild.image.build import BuiltImage, ImageOptions
from hostbuild.matrix import prepare
from hostbuild.matrix.asked.axes import MatrixKernel
from hostbuild.matrix.asked.cells import cells_of
from hostbuild.matrix.asked.job import Lost, Parcel
from hostbuild.matrix.asked.spec import parse_spec
from hostbuild.matrix.prepare import Plan, make_plan
from hostbuild.matrix.workers.parcels import make_parcel
from hostbuild.ui import Reporter, Silent


@pytest.fixture
def parcel(image: BuiltImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parcel:
    """The default image as a parcel, with an empty cache beside it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return make_parcel(image.image)


@pytest.fixture
def plan_of(parcel: Parcel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Give what plans a file's text, with that image for all kernels but `none`, and `arm` for another architecture."""

    def made(kernel: MatrixKernel, options: ImageOptions, report: Reporter) -> Parcel | Lost:
        if kernel.name == "none":
            return Lost("its image cannot be made: no")
        return replace(parcel, arch=Arch.ARM64) if kernel.name == "arm" else parcel

    monkeypatch.setattr(prepare, "_parcel", made)

    def plan(text: str) -> Plan:
        spec = parse_spec(text, tmp_path / "m.toml")
        return make_plan(spec, cells_of(spec), "run", Silent())

    return plan
