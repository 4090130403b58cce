"""hostbuild.formats.programs: what busybox and CPython would say of themselves, read from their files."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostbuild.errors import HostbuildError, InputError
from hostbuild.formats.elf import ElfError
from hostbuild.formats.programs.busybox import applets_in
from hostbuild.formats.programs.cpython import builtin_modules, frozen_modules
from hostbuild.image.sources.cpython import require_interpreter
from tests.support.fuzzing import examples
from tests.support.programs import require_program

pytestmark = pytest.mark.net


@pytest.fixture(scope="module")
def busybox() -> Path:
    """Debian's, for this machine."""
    return Path(require_program("busybox"))


def test_applets_are_those_that_busybox_lists(busybox: Path) -> None:
    """All applets, in its order, each in its directory: busybox itself is the oracle."""
    said = subprocess.run([busybox, "--list-full"], capture_output=True, text=True, timeout=20, check=True)
    assert applets_in(busybox.read_bytes()) == said.stdout.split()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[: len(data) // 3],
        lambda data: data.replace(b"[\0[[\0", b"]\0]]\0"),
        lambda data: data.replace(b"\0adjtimex\0", b"\0zdjtimex\0"),
        lambda data: data + data,
        lambda _data: b"",
    ],
    ids=["cut", "no names", "out of order", "twice", "empty"],
)
def test_a_busybox_of_unknown_make(busybox: Path, spoil: Callable[[bytes], bytes]) -> None:
    """Where the tables are not found, or twice, nothing is guessed."""
    with pytest.raises(InputError, match="not one"):
        applets_in(spoil(busybox.read_bytes()))


def test_modules_are_those_that_the_interpreter_names() -> None:
    """Built-in and frozen modules: the interpreter itself is the oracle."""
    interpreter = require_interpreter()
    with interpreter.program.open("rb") as program:
        assert builtin_modules(program) == interpreter.builtin
        assert frozen_modules(program, interpreter.version) == interpreter.frozen


def test_no_interpreter(busybox: Path) -> None:
    """Another program is refused, and says which table it lacks."""
    with busybox.open("rb") as program, pytest.raises(ElfError, match="PyImport_Inittab"):
        builtin_modules(program)


@pytest.mark.slow
@settings(max_examples=examples(20), deadline=None)
@given(data=st.data())
def test_damage_is_an_error_of_ours(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A program that is cut, or has other words in its headers, gives an answer or one of our errors."""
    whole = bytearray(require_interpreter().program.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 0x400))
        whole[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("spoilt") / "python"
    path.write_bytes(whole[: data.draw(st.sampled_from([len(whole), 0x200, 0x10000]))])
    with path.open("rb") as program:
        try:
            builtin_modules(program)
        except HostbuildError:
            return
