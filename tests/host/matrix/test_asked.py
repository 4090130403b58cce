"""matrix.toml: what is taken, what is refused and in which words; the cells, their keys, what is expected of them."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.arch import Arch
from hostbuild.errors import HostbuildError, InputError
from hostbuild.matrix.asked.axes import Spec
from hostbuild.matrix.asked.cells import cells_of, expected_of, key_of
from hostbuild.matrix.asked.spec import parse_spec

FILE = Path("/there/matrix.toml")
WHOLE = """
kernels = ["deb:linux-image-{arch}", "6.12.9-amd64", "../linux"]
architectures = ["amd64", "arm64"]
machines = ["virtio", "q35", "machines/board.toml"]
append = "quiet"
memory = "512M"
cpus = 2
timeout = 90

[images.small]
modules = "virtio,e1000"
overlays = ["files"]
with = ["network"]

[images.large]

[tests.boot]
[tests.loads]
command = "modprobe loop"
timeout = 30
[tests.words]
command = ["ls", "-l"]
[tests.script]
script = "smoke.sh"
[tests.suite]
pytest = ["tests/test_driver.py"]

[[exclude]]
machine = "q35"
architecture = "arm64"
[[exclude]]
image = "large"
test = ["s*", "words"]

[[expect]]
modules = ["virtio_net"]
[[expect]]
machine = "q35"
status = 3
bound = ["e1000", "0000:00:02.0=e1000"]
"""


def spec_of(text: str) -> Spec:
    return parse_spec(text, FILE)


def test_a_whole_file_is_taken() -> None:
    """Words with {arch} are one for each architecture; paths are the file's folder's; a string is a shell's command."""
    spec = spec_of(WHOLE)
    assert [(one.word, one.arch) for one in spec.kernels] == [
        ("deb:linux-image-amd64", Arch.AMD64),
        ("deb:linux-image-arm64", Arch.ARM64),
        ("6.12.9-amd64", None),
        ("/there/../linux", None),
    ]
    assert spec.machines == ("virtio", "q35", "/there/machines/board.toml")
    assert spec.images[0].overlays == (Path("/there/files"),)
    assert spec.images[0].extras == ("network",)
    tests = {test.name: test for test in spec.tests}
    assert tests["loads"].command == ("sh", "-c", "modprobe loop")
    assert tests["words"].command == ("ls", "-l")
    assert tests["script"].script == Path("/there/smoke.sh")
    assert tests["suite"].pytest == (Path("/there/tests/test_driver.py"),)
    assert (tests["boot"].timeout_s, tests["loads"].timeout_s, spec.timeout_s) == (None, 30, 90)


def test_the_least_is_one_cell() -> None:
    """A kernel alone: the machine virtio, the default image, and a boot."""
    [cell] = cells_of(spec_of('kernels = "deb:linux-image-amd64"'))
    assert cell.name == "deb:linux-image-amd64 | virtio | default | boot"
    [named] = cells_of(spec_of('[kernels]\nstable = "deb:linux-image-amd64"'))
    assert named.name == "stable | virtio | default | boot"
    both = spec_of('architectures = ["amd64", "arm64"]\n[kernels]\nstable = "deb:linux-image-{arch}"')
    assert [cell.kernel.name for cell in cells_of(both)] == ["stable-amd64", "stable-arm64"]


def test_excluded_cells_are_no_cells() -> None:
    """The product, less what both conditions of a row fit; an architecture that nobody knows yet is not excluded."""
    cells = cells_of(spec_of(WHOLE))
    named = {cell.names for cell in cells}
    assert len(named) == len(cells)
    assert not [one for one in named if one[1:3] == ("arm64", "q35")]
    assert [one for one in named if one[0] == "../linux" and one[2] == "q35"]
    assert {one[4] for one in named if one[3] == "large"} == {"boot", "loads"}
    # 3 machines x (5 + 2 tests) for three kernels; two machines for arm64
    assert len(cells) == 3 * 3 * 7 + 2 * 7


def test_what_is_expected_comes_from_all_rows_that_fit() -> None:
    """Modules and devices of all rows; the status of the last one that names one, else 0."""
    spec = spec_of(WHOLE)
    of = {cell.names: expected_of(spec, cell) for cell in cells_of(spec)}
    on_q35 = of["6.12.9-amd64", "", "q35", "small", "boot"]
    assert (on_q35.status, on_q35.modules) == (3, ("virtio_net",))
    assert on_q35.bound == ("e1000", "0000:00:02.0=e1000")
    assert of["6.12.9-amd64", "", "virtio", "small", "boot"].status == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no kernels"),
        ("kernels = [", "not TOML"),
        ("kernel = ['x']", "unknown key 'kernel'; did you mean kernels"),
        ("kernels = [1]", "kernels must be a list of words"),
        ("kernels = ['a', 'a']", "kernels has 'a' twice"),
        ("kernels = ['deb:linux-image-{arch}']", "none is named"),
        (
            "kernels = ['deb:linux-image-arm64']\narchitectures = ['amd64']",
            "is for arm64, which architectures",
        ),
        ("kernels = ['a']\narchitectures = ['adm64']", "did you mean arm64 or amd64"),
        ("kernels = ['a']\nmachines = ['x.toml', 'y/x.toml']", "machines has 'x' twice"),
        ("kernels = ['a']\nmemory = '12X'", "memory '12X'"),
        ("kernels = ['a']\ntimeout = 0", "timeout must be a number of seconds"),
        ("kernels = ['a']\ntimeout = true", "timeout must be a number of seconds"),
        ("kernels = ['a']\ncpus = 0", "cpus must be a number from 1 to 255"),
        ("kernels = ['a']\naccel = 'kmv'", "did you mean kvm"),
        ("kernels = ['a']\nimages = 3", "[images.NAME]"),
        ("kernels = ['a']\n[images.x]\nmodule = 'y'", "unknown key 'module'; did you mean modules"),
        ("kernels = ['a']\n[images.x]\nmodprobe = 'kmodd'", "did you mean kmod"),
        ("kernels = ['a']\n[tests.x]\ncommand = 'y'\nscript = 'z'", "mutually exclusive"),
        ("kernels = ['a']\n[tests.x]\ncommand = ''", "command is empty"),
        ("kernels = ['a']\n[[exclude]]\nmachne = 'y'", "did you mean machine"),
        ("kernels = ['a']\n[[exclude]]\nmachine = 'vrtio'", "fits no machine; did you mean virtio"),
        ("kernels = ['a']\n[[exclude]]", "no cell is left"),
        ("kernels = ['a']\n[[expect]]\nstatus = 256", "status must be a number from 0 to 255"),
        ("kernels = ['a']\nexpect = 1", "[[expect]]"),
        ("kernels = ['a\\u0000']".replace("'", '"'), "NUL"),
    ],
)
def test_what_is_wrong_is_said(text: str, words: str) -> None:
    """With the file, the place, and near names."""
    with pytest.raises(InputError) as caught:
        cells_of(spec_of(text))
    assert words in str(caught.value)
    assert str(FILE) in str(caught.value)


def test_a_product_that_is_too_large_is_refused() -> None:
    """Before it is made."""
    text = f"kernels = {[str(n) for n in range(400)]}\nmachines = {[str(n) for n in range(400)]}"
    with pytest.raises(InputError, match="160000 cells"):
        cells_of(spec_of(text))


def test_a_key_is_of_the_content() -> None:
    """The same inputs in another order give the same key; another value another one."""
    assert key_of({"a": 1, "b": ["x"]}) == key_of({"b": ["x"], "a": 1})
    assert key_of({"a": 1, "b": ["x"]}) != key_of({"a": 1, "b": ["y"]})


@given(st.text(alphabet="kernels[]{}='\"\n.mtachi0 ", max_size=80))
def test_no_text_breaks_it(text: str) -> None:
    """Whatever a file has, it is taken, or refused in words."""
    with contextlib.suppress(HostbuildError):
        cells_of(spec_of(text))
