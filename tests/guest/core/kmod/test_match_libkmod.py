"""Our answers against libkmod's, on the whole alias table of Debian's kernel and on tables made up.

libkmod is asked through ctypes with an empty configuration, and modprobe -R for a sample. The two known
differences, faults of kmod's, have tests of their own; see docs/matching.md.
"""

import errno
import random
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostbuild.kernels.kernel import Kernel
from modaliasd.core.index.lookup import Index, build
from modaliasd.core.kmod.names import UnbalancedBracketsError, normalize_alias, text_of
from modaliasd.core.kmod.tables import parse_builtin_modinfo, parse_modules_alias
from tests.support.fuzzing import examples
from tests.support.komaker import FakeModule, make_tree
from tests.support.libkmod import Kmod, KmodError, aliases_only
from tests.support.modaliases import concrete, machine_mix, pci_modaliases, spoiled, usb_modaliases
from tests.support.places import DATA
from tests.support.programs import require_program

RECORDED = DATA / "modaliases.txt"


def sources(modules_dir: Path) -> tuple[bytes, bytes, bytes]:
    """What an index is made from."""
    names = ("modules.alias", "modules.order", "modules.builtin.modinfo")
    alias, order, builtin = ((modules_dir / name).read_bytes() for name in names)
    return alias, order, builtin


def differences(
    index: Index, kmod: Kmod, modaliases: Iterable[bytes]
) -> list[tuple[bytes, list[str], list[str]]]:
    """(modalias, libkmod's answer, ours) wherever they are not the same; load order counts."""
    found = []
    for modalias in modaliases:
        theirs = kmod.answer(modalias)
        matches = index.lookup(text_of(modalias))
        ours = [match.module for match in matches]
        if matches and matches[0].builtin:  # nothing is loaded, and kmod gives them all one priority
            ours, theirs = sorted(ours), sorted(theirs)
        if ours != theirs:
            found.append((modalias, theirs, ours))
    return found


@pytest.fixture(scope="module")
def modules_dir(debian_kernel: Kernel) -> Path:
    assert debian_kernel.indexes is not None
    return debian_kernel.indexes


@pytest.fixture(scope="module")
def index(modules_dir: Path) -> Index:
    return Index(build(*sources(modules_dir)))


@pytest.fixture(scope="module")
def kmod(modules_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kmod]:
    """libkmod on the two alias tables alone: the other stages are none of the index's business."""
    context = Kmod(aliases_only(modules_dir, tmp_path_factory.mktemp("aliases") / "modules"))
    yield context
    context.close()


@pytest.fixture(scope="module")
def patterns(modules_dir: Path) -> list[bytes]:
    alias, _, builtin = sources(modules_dir)
    return [a.pattern for a in parse_modules_alias(alias)[0] + parse_builtin_modinfo(builtin)[0]]


@pytest.mark.slow
@pytest.mark.net
def test_the_table_is_whole(index: Index, patterns: list[bytes]) -> None:
    """Debian's table is as large as we say, and no line of it is skipped."""
    assert index.aliases > 20_000
    assert index.warnings == ()
    assert len(patterns) > index.aliases


@pytest.mark.net
@pytest.mark.slow
def test_every_alias_made_concrete(index: Index, kmod: Kmod, patterns: list[bytes]) -> None:
    """Stars empty or filled, sets chosen, one byte spoiled: libkmod's answer every time."""
    chance = random.Random(1)
    strings = [pattern.replace(b"*", b"") for pattern in patterns if b"[" not in pattern]
    strings += [concrete(pattern, chance, "0123456789ABCDEFabcdef:,-_ dsvpi*") for pattern in patterns]
    strings += [spoiled(concrete(pattern, chance), chance) for pattern in patterns]
    assert len(strings) > 75_000
    assert differences(index, kmod, strings) == []


@pytest.mark.net
@pytest.mark.slow
def test_every_device_of_pci_ids_and_usb_ids(index: Index, kmod: Kmod) -> None:
    """All devices and subsystems that hwdata knows."""
    chance = random.Random(2)
    strings = [*pci_modaliases(chance), *usb_modaliases(chance)]
    assert len(strings) > 50_000
    assert differences(index, kmod, strings) == []


@pytest.mark.slow
@pytest.mark.net
def test_mixes_as_machines_show_them(index: Index, kmod: Kmod, patterns: list[bytes]) -> None:
    """Ten thousand modaliases over all buses."""
    assert differences(index, kmod, machine_mix(patterns, 10_000, 4)) == []


@pytest.mark.net
def test_what_real_machines_showed(index: Index, kmod: Kmod) -> None:
    """Recorded modaliases of all buses, most of which match something."""
    strings = [line for line in RECORDED.read_bytes().splitlines() if not line.startswith(b"#")]
    assert differences(index, kmod, strings) == []
    assert sum(bool(index.lookup(text_of(string))) for string in strings) > len(strings) / 3


ODD = (
    b"",
    b"*",
    b"?",
    b"[",
    b"]",
    b"[]",
    b"pci:",
    b"pci:v",
    b"]pci:v1",
    b"-",
    b"_",
    b"\xff" * 40,
    b"PCI:V00008086D*",
)


@pytest.mark.net
def test_odd_strings(index: Index, kmod: Kmod) -> None:
    """Empty, broken, wild, not UTF-8, other case, 10,000 characters."""
    long = [b"acpi:" + b"A" * n + b":PNP0C50:" for n in (1000, 4000, 4081, 4082, 4090, 9990)]
    long += [b"of:N" + b"x" * 10_000, b"pci:v00008086d00001521sv" + b"0" * 10_000, b"\xff" * 10_000]
    asked = [string for string in (*ODD, *long) if not too_long_for_kmod(kmod, string)]
    assert len(asked) >= len(ODD) + 6
    assert differences(index, kmod, asked) == []


def too_long_for_kmod(kmod: Kmod, string: bytes) -> bool:
    """Whether libkmod gives up on a match: string and module name together have no room in its buffer."""
    try:
        kmod.lookup(string)
    except KmodError as error:
        return error.errno == errno.ENAMETOOLONG
    return False


@pytest.mark.net
def test_kmod_gives_up_on_matches_of_4_080_bytes(index: Index, kmod: Kmod) -> None:
    """A difference, and kmod's fault: it finds the module and then has no room for both names."""
    string = b"acpi:" + b"A" * 4078 + b":PNP0C50:"
    assert too_long_for_kmod(kmod, string)
    assert [match.module for match in index.lookup(text_of(string))] == ["i2c_hid_acpi"]


@pytest.mark.net
@settings(
    max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
@pytest.mark.slow
def test_what_no_one_thought_of(index: Index, kmod: Kmod, patterns: list[bytes], data: st.DataObject) -> None:
    """Strings that Hypothesis makes from pieces of the table and from anything else."""
    pieces = data.draw(
        st.lists(
            st.one_of(
                st.sampled_from(patterns).flatmap(lambda p: st.integers(0, len(p)).map(lambda n: p[:n])),
                st.sampled_from(patterns).flatmap(lambda p: st.integers(0, len(p)).map(lambda n: p[n:])),
                st.binary(max_size=6),
            ),
            max_size=4,
        )
    )
    string = b"".join(pieces).replace(b"\0", b"")
    asked = [string, string.replace(b"*", b""), string.replace(b"[", b"")]
    assert differences(index, kmod, [s for s in asked if not (b"[" in s and b"]" in s)]) == []


@pytest.mark.slow
@pytest.mark.net
def test_modprobe_says_the_same(
    index: Index, modules_dir: Path, tmp_path: Path, patterns: list[bytes]
) -> None:
    """`modprobe -R`, one process a modalias, over a sample of all buses and what real machines showed."""
    root = tmp_path / "lib" / "modules"
    root.mkdir(parents=True)
    (root / modules_dir.name).symlink_to(modules_dir)
    recorded = [line for line in RECORDED.read_bytes().splitlines() if not line.startswith(b"#")]
    for modalias in [*machine_mix([p for p in patterns if b":" in p], 100, 5), *recorded]:
        command = [
            require_program("modprobe"),
            "-q",
            "-d",
            str(tmp_path),
            "-S",
            modules_dir.name,
            "-C",
            "/dev/null",
        ]
        asked = [*command, "-R", text_of(modalias)]
        run = subprocess.run(asked, capture_output=True, check=False, text=True, errors="surrogateescape")
        theirs = list(dict.fromkeys(run.stdout.split()))
        assert [match.module for match in index.lookup(text_of(modalias))] == theirs, modalias


LITERALS = st.sampled_from(["a", "b", "ab", "abc", ":", "0", "-", "_", "d0", "sv"])
WILD = st.sampled_from(["*", "*", "?", "[ab]", "[0-9]", "[!a]", "[a-]"])
PATTERNS = st.lists(st.one_of(LITERALS, WILD), min_size=1, max_size=6).map("".join)
STRINGS = st.lists(st.one_of(LITERALS, st.sampled_from(["*", "?", "\xe9", "\\"])), max_size=7).map("".join)


def fresh_tree(root: Path, patterns: list[str]) -> Path:
    """A tree in a directory of its own, each pattern the alias of one module."""
    number = sum(1 for _ in root.iterdir())
    modules = [FakeModule(f"m{n}", aliases=[pattern]) for n, pattern in enumerate(patterns)]
    return make_tree(root / str(number), "6.1.0-test", modules)


@settings(
    max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(PATTERNS, min_size=1, max_size=20, unique=True), st.lists(STRINGS, min_size=1, max_size=20))
def test_tables_made_up(tmp_path: Path, patterns: list[str], strings: list[str]) -> None:
    """Any table that depmod accepts, any string without brackets: libkmod's answer, in its order."""
    folder = fresh_tree(tmp_path, patterns)
    ours = Index(build(*sources(folder)))
    context = Kmod(folder)
    try:
        asked = [s.encode() for s in strings if "m" not in s]
        asked += [concrete(p.encode(), random.Random(6)) for p in patterns]
        asked = [s for s in asked if b"[" not in s and b"]" not in s]
        assert differences(ours, context, asked) == []
    finally:
        context.close()


def test_kmod_takes_a_bracket_at_a_branch_literally(tmp_path: Path) -> None:
    """A difference, and kmod's fault: behind a branching node it also follows `[` as a plain byte."""
    folder = fresh_tree(tmp_path, ["x:a[0-9]", "x:ab"])
    context = Kmod(folder)
    try:
        assert context.answer(b"x:a[0-9]") == ["m0"]
    finally:
        context.close()
    assert Index(build(*sources(folder))).lookup("x:a[0-9]") == []


def test_a_backslash_counts_as_kmod_counts_it(tmp_path: Path) -> None:
    """Before the first wildcard a backslash is a byte like others, behind it it escapes."""
    folder = fresh_tree(tmp_path, ["x:a\\*b", "x:*\\?c", "x:\\d"])
    ours = Index(build(*sources(folder)))
    context = Kmod(folder)
    try:
        strings = [b"x:a*b", b"x:a\\b", b"x:a\\xb", b"x:yy?c", b"x:yyzc", b"x:\\?c", b"x:d", b"x:\\d"]
        assert differences(ours, context, strings) == []
        assert [m.module for m in ours.lookup("x:a\\xb")] == ["m0"]
    finally:
        context.close()


@given(st.binary(max_size=40))
def test_what_kmod_calls_invalid_we_call_invalid(
    tmp_path_factory: pytest.TempPathFactory, string: bytes
) -> None:
    """A string that cannot be normalised has no answer."""
    try:
        normalize_alias(string)
    except UnbalancedBracketsError:
        assert Index(build(b"alias * anything\n")).lookup(text_of(string)) == []
        return
    assert Index(build(b"alias * anything\n")).lookup(text_of(string))
