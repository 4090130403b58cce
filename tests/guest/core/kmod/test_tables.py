"""modules.alias, modules.builtin.modinfo and modules.order as depmod and the kernel's build write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.kernels.kernel import Kernel
from modaliasd.core.kmod.modules_dep import parse_builtin
from modaliasd.core.kmod.names import module_name, normalize_alias, text_of
from modaliasd.core.kmod.tables import (
    Alias,
    DeviceNode,
    MayAsk,
    parse_builtin_modinfo,
    parse_devname,
    parse_modules_alias,
    parse_modules_order,
    parse_requested,
    parse_symbols,
)
from tests.support.kmodlive import kmod_configuration


def test_lines_become_aliases_with_their_numbers() -> None:
    """Comments and blank lines count as lines and say nothing."""
    text = b"# Aliases extracted from modules themselves.\nalias pci:v1d* e1000\n\nalias usb:* snd-usb\n"
    assert parse_modules_alias(text) == ([Alias(b"pci:v1d*", "e1000", 2), Alias(b"usb:*", "snd_usb", 4)], [])


def test_blanks_belong_to_the_pattern() -> None:
    """depmod quotes nothing: the module is the last word of the line."""
    aliases, bad = parse_modules_alias(b"alias platform:Fixed MDIO bus fixed_phy\n")
    assert aliases == [Alias(b"platform:Fixed MDIO bus", "fixed_phy", 1)]
    assert bad == []


def test_broken_lines_are_reported_and_skipped() -> None:
    """Each broken line is told by its number; the others count."""
    text = b"alias a m\nalias b\nnonsense\nalias c[ m\nalias d m"
    aliases, bad = parse_modules_alias(text)
    assert [alias.line for alias in aliases] == [1, 5]
    assert [(problem.file, problem.line) for problem in bad] == [
        ("modules.alias", line) for line in (2, 3, 4)
    ]
    assert all(problem.message for problem in bad)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_parsers(data: bytes) -> None:
    """Every line is an alias, a broken line, a comment or blank; nothing raises."""
    aliases, bad = parse_modules_alias(data)
    parse_builtin_modinfo(data)
    parse_modules_order(data)
    silent = sum(not line.strip() or line.startswith(b"#") for line in data.split(b"\n"))
    assert len(aliases) + len(bad) + silent >= len(data.split(b"\n"))
    assert len(aliases) + len(bad) <= len(data.split(b"\n"))


def test_builtin_aliases() -> None:
    """Only `alias` entries count, and a pattern may hold dots and equals signs."""
    data = b"rtc_cmos.license=GPL\0rtc_cmos.alias=platform:rtc_cmos\0"
    data += b"dmi-x.alias=dmi:*bd1.2=3*\0junk\0a.alias=[\0"
    aliases, bad = parse_builtin_modinfo(data)
    assert aliases == [Alias(b"platform:rtc_cmos", "rtc_cmos"), Alias(b"dmi:*bd1.2=3*", "dmi_x")]
    assert [problem.line for problem in bad] == [4, 5]


def test_order_takes_the_last_place() -> None:
    """A module that stands twice in modules.order has its last place, as for depmod."""
    order, bad = parse_modules_order(b"kernel/a.ko\nkernel/b-c.ko.xz\nkernel/a.ko\n")
    assert order["a"] > order["b_c"]
    assert bad == []


def test_lists_of_paths() -> None:
    """A line that names no module is told of, in modules.order and in modules.builtin; the others count."""
    text = "kernel/fs/binfmt-script.ko\nkernel/\n\nkernel/a.ko \n.ko\n"
    names, bad = parse_builtin(text)
    assert names == {"binfmt_script", "a"}
    assert [(problem.file, problem.line) for problem in bad] == [
        ("modules.builtin", 2),
        ("modules.builtin", 5),
    ]
    order, bad = parse_modules_order(text.encode())
    assert order.keys() == names
    assert [problem.line for problem in bad] == [2, 5]


@given(st.text())
def test_builtin_names_are_module_names(text: str) -> None:
    """All lines at once are read as each by itself."""
    each = {module_name(line.strip()) for line in text.split("\n")} - {""}
    assert parse_builtin(text)[0] == each


def test_symbols() -> None:
    """modules.symbols gives a module for a symbol."""
    symbols, bad = parse_symbols("# Aliases\nalias symbol:x_y mod-a\nalias symbol:z\n")
    assert symbols == {"symbol:x_y": "mod_a"}
    assert [problem.line for problem in bad] == [3]


def test_device_nodes() -> None:
    """modules.devname gives nodes with their numbers; anything else is told of by its line."""
    text = "# Device nodes\nsnd-timer snd/timer c116:33\nloop loop-control c10\nx y d1:2\nx y b-1:2\nx y bx:2\nx y\n"
    nodes, bad = parse_devname(text)
    assert nodes == [DeviceNode("snd_timer", "snd/timer", "c", 116, 33)]
    assert [problem.line for problem in bad] == [3, 4, 5, 6, 7]


@given(st.text())
def test_no_text_breaks_them(text: str) -> None:
    """Every line is something, a problem, a comment or blank."""
    said = [line for line in text.split("\n") if line.strip() and not line.startswith("#")]
    for nodes_or_symbols, bad in (parse_devname(text), parse_symbols(text)):
        assert len(nodes_or_symbols) + len(bad) <= len(said)
        assert {problem.line for problem in bad} <= set(range(1, text.count("\n") + 2))


@pytest.mark.net
def test_debians_tables_have_no_other_lines(debian_kernel: Kernel) -> None:
    """Every line of a real tree's tables is understood; aliases and symbols are those that kmod reads (modprobe -c)."""
    indexes, modules = debian_kernel.indexes, debian_kernel.modules
    assert indexes is not None
    assert modules is not None
    aliases, bad = parse_modules_alias((indexes / "modules.alias").read_bytes())
    symbols, not_symbols = parse_symbols((indexes / "modules.symbols").read_text())
    nodes, not_nodes = parse_devname((indexes / "modules.devname").read_text())
    inside, not_inside = parse_builtin_modinfo((modules / "modules.builtin.modinfo").read_bytes())
    order, not_order = parse_modules_order((modules / "modules.order").read_bytes())
    assert [*bad, *not_symbols, *not_nodes, *not_inside, *not_order] == []
    assert DeviceNode("cuse", "cuse", "c", 10, 203) in nodes
    assert len(inside) > 50
    assert len(order) > 4000
    shown = [
        line.removeprefix("alias ") for line in kmod_configuration(debian_kernel) if line.startswith("alias ")
    ]
    ours = {f"{text_of(normalize_alias(alias.pattern))} {alias.module}" for alias in aliases}
    ours |= {f"{symbol} {module}" for symbol, module in symbols.items()}
    assert ours == set(shown)


def test_who_asks_for_what_is_read() -> None:
    """A line has three words, names are modules' names; what is none is a problem with its line."""
    found, bad = parse_requested("snd-seq snd snd-seq\n\n# no\ntwo words\n")
    assert found == [MayAsk("snd_seq", "snd", "snd-seq")]
    assert [(one.file, one.line) for one in bad] == [("modules.requested", 4)]
