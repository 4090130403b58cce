"""commands/check_config.py: every mistake is named by file and line; a good configuration is clean."""

import io
from pathlib import Path

import pytest

from modaliasd.commands.check_config import check as check_config
from modaliasd.core.errors import UsageError, WorldError
from tests.support.kmodlive import LiveTree

ODD = "commas and quotes count as part of the name"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> LiveTree:
    return LiveTree(tmp_path_factory.mktemp("check"))


def check(tree: LiveTree, files: dict[str, str]) -> tuple[int, list[str]]:
    tree.configure(files)
    out = io.StringIO()
    status = check_config(["--root", str(tree.root), "--modules-dir", str(tree.folder)], out)
    *found, summary = out.getvalue().splitlines()
    assert summary.startswith(f"{len(found)} finding{'s' * (len(found) != 1)} in ")
    return status, found


def test_clean(tree: LiveTree) -> None:
    """A configuration in which every line does what it says has no finding and status 0."""
    text = (
        "# Good\nblacklist kt_alt\nblacklist unknown\nalias nic kt-net\nalias pci:v0000* off\n"
        "options nic debug=1\noptions kt-base debug=1 dyndbg=+p\noptions pci:v1d2 x=1\n"
        "softdep kt_net pre: crypto-kt post: kt-both\nremove kt_net true\n"
    )
    assert check(tree, {"etc/modprobe.d/a.conf": text}) == (0, [])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("blaklist kt_net", "unknown keyword 'blaklist': the line is ignored"),
        ("blacklist kt_*", "blacklist kt_*: patterns do not work here: it denies nothing; name each module"),
        ("blacklist kt-inside", "blacklist kt_inside: it is built into the kernel, nothing can be denied"),
        ("blacklist kt_net.ko", "blacklist kt_net.ko: a module's name has neither dots nor slashes"),
        ("alias x kt_no", "alias x kt_no: there is no module kt_no, so what matches is not loaded at all"),
        ("options kt_nothing a=1", "options kt_nothing: there is no such module or alias"),
        ("options pci:* a=1", "options pci:*: patterns do not work here, except exactly that of an alias line"),
        ("options kt_n* a=1", "options kt_n*: patterns do not work here, except exactly that of an alias line"),
        ("options kt-base debug=1 fast=2", "options kt_base: it has no parameter fast"),
        ("softdep kt_nothing pre: kt_net", "softdep kt_nothing: there is no such module"),
        ("softdep kt_net pre: kt_no", "softdep kt_net: there is no module or alias kt_no, so it is left out"),
        ("blacklist kt_net,kt_bus", f"blacklist kt_net,kt_bus: {ODD}, so it denies nothing"),
        ('blacklist "kt_net"', f'blacklist "kt_net": {ODD}, so it denies nothing'),
        ("options 'kt_net' a=1", f"options 'kt_net': {ODD}"),
        ("options kt_base debug = 1", "options kt_base: no blanks around `=`: PARAMETER=VALUE (debug = 1)"),
        ("options kt_base debug= 1", "options kt_base: no blanks around `=`: PARAMETER=VALUE (debug= 1)"),
        ("options kt_base debug =1", "options kt_base: no blanks around `=`: PARAMETER=VALUE (debug =1)"),
        ("options kt_base debug=1,x=2", "options kt_base: parameters are separated by blanks (debug=1,x=2)"),
        ("options kt_base a='1 2'", "options kt_base: single quotes count as part of the value (a='1 2')"),
        ("install kt_soft true", "install kt_soft: not used, because kt_soft has softdeps"),
    ],
)  # fmt: skip
def test_findings(tree: LiveTree, line: str, message: str) -> None:
    """Each mistake is one finding, at its file and line, with status 1."""
    status, found = check(tree, {"run/modprobe.d/a.conf": f"# first line\n{line}\n"})
    assert (status, found) == (1, [f"/run/modprobe.d/a.conf:2: {message}"])


def test_a_file_hidden_by_one_of_the_same_name(tree: LiveTree) -> None:
    """It is named with the file that goes first; one that is hidden by an empty file is meant to be."""
    line = "options kt_base debug=1\n"
    files = {"etc/modprobe.d/a.conf": line, "usr/lib/modprobe.d/a.conf": line, "run/modprobe.d/b.conf": ""}
    found = check(tree, {**files, "usr/lib/modprobe.d/b.conf": line})
    assert found == (
        1,
        ["/usr/lib/modprobe.d/a.conf: not read: /etc/modprobe.d/a.conf has the same name, and goes first"],
    )


def test_what_modules_load_names(tree: LiveTree) -> None:
    """A name that is nothing's, one that a blacklist denies, and a file that is not read."""
    files = {
        "etc/modules": "# mine\nkt_net a=1\nkt_no\n",
        "etc/modules-load.d/a.conf": "kt_alt\n",
        "etc/modules-load.d/b": "kt_net\n",
        "etc/modprobe.d/a.conf": "blacklist kt_alt\n",
    }
    status, found = check(tree, files)
    for name in files:
        (tree.root / name).unlink()
    assert (status, found) == (
        1,
        [
            "/etc/modules:3: nothing is called kt_no, by name or by alias",
            "/etc/modules-load.d/a.conf:1: kt_alt is not loaded: blacklist, /etc/modprobe.d/a.conf:1",
            "/etc/modules-load.d/b: not read: its name does not end in .conf",
        ],
    )


@pytest.mark.parametrize(
    ("command", "finding"),
    [
        ("/sbin/modprobe --ignore-install kt_net && { modprobe -q kt_bus; :; }", ""),
        ("X=1 /usr/bin/nothing -a; true", "there is no program /usr/bin/nothing"),
        ("if ! sudo modprobe -i kt_net; then exit 1; fi", "there is no program sudo"),
        ("$PROGRAM x; 'quoted' y", ""),
        (
            "modprobe --config /x kt_net",
            "busybox's modprobe has no --config (make-image --modprobe kmod has)",
        ),
    ],
)
def test_commands(tree: LiveTree, command: str, finding: str) -> None:
    """What an install line runs has to be there, and busybox's modprobe to have the option."""
    for name in ("bin/sh", "sbin/modprobe", "bin/busybox"):
        (tree.root / name).parent.mkdir(exist_ok=True)
        (tree.root / name).unlink(missing_ok=True)
        (tree.root / name).symlink_to("busybox")
    try:
        _, found = check(tree, {"etc/modprobe.d/a.conf": f"install kt_net {command}\n"})
    finally:
        (tree.root / "bin/sh").unlink()
    about = [line for line in found if "this command runs instead" not in line]
    assert about == ([f"/etc/modprobe.d/a.conf:1: {command}: {finding}"] if finding else [])


def test_lines_of_the_module_trees_tables(tmp_path: Path) -> None:
    """What depmod would not write is named by table and line, as the daemon notes it and passes over it."""
    tree = LiveTree(tmp_path)
    for name in ("dep", "softdep", "alias", "builtin"):
        with (tree.folder / f"modules.{name}").open("a") as file:
            file.write("/\n" if name == "builtin" else "nonsense\n")
    lines = {name: (tree.folder / f"modules.{name}").read_text().count("\n") for name in ("dep", "alias")}
    status, found = check(tree, {})
    assert status == 1
    assert [line.removeprefix(f"{tree.folder}/").partition(": ")[0] for line in found] == [
        f"modules.dep:{lines['dep']}",
        "modules.builtin:2",
        "modules.softdep:5",
        f"modules.alias:{lines['alias']}",
    ]


def test_install_says_what_it_means(tree: LiveTree) -> None:
    """An install line is always a finding, with the command that is going to run as root."""
    _, (found,) = check(tree, {"etc/modprobe.d/a.conf": "install kt_net /bin/rm -rf /\n"})
    assert found.startswith(
        "/etc/modprobe.d/a.conf:1: install kt_net: this command runs instead of inserting"
    )
    assert found.endswith(": /bin/rm -rf /")


def test_aliases_are_not_chained(tree: LiveTree) -> None:
    """An alias to an alias says that this does not work."""
    _, (found,) = check(tree, {"etc/modprobe.d/a.conf": "alias a b\nalias b kt_net\n"})
    assert found == "/etc/modprobe.d/a.conf:1: alias a b: b is an alias itself, and aliases are not chained"


def test_builtin_options(tree: LiveTree) -> None:
    """Options for a built-in module are told where to go."""
    _, (found,) = check(tree, {"etc/modprobe.d/a.conf": "options kt_inside a=1\n"})
    assert found.endswith("which takes kt_inside.PARAMETER=VALUE on the kernel's command line")


def test_command_line(tree: LiveTree) -> None:
    """On the kernel's command line the kernel's own list is checked for names that can never match."""
    _, (found,) = check(tree, {"proc/cmdline": "root=x kt_what.ever=1 module_blacklist=kt-net"})
    expected = "module_blacklist=kt-net: the kernel compares exact names, with underscores"
    assert found == f"kernel command line: {expected}"


def test_files_that_are_not_read(tree: LiveTree) -> None:
    """A file without .conf, and modprobe.conf which only busybox reads, are findings; backups are not."""
    files = {"a": "", "b.conf~": "", "b.conf.bak": "", "README": "", ".x": ""}
    status, found = check(tree, {f"etc/modprobe.d/{name}": text for name, text in files.items()})
    assert (status, found) == (1, ["/etc/modprobe.d/a: not read: its name does not end in .conf"])
    (tree.root / "etc/modprobe.conf").write_text("")
    _, found = check(tree, {})
    (tree.root / "etc/modprobe.conf").unlink()
    assert [line.split(":")[0] for line in found] == ["/etc/modprobe.conf"]


def test_kmod_complains_about_no_more(tree: LiveTree) -> None:
    """Every line that kmod itself complains about is a finding at that line."""
    text = "alias a\nwhat\nblacklist\noptions x\n # c\ninstall kt_[ x\n"
    _, found = check(tree, {"etc/modprobe.d/a.conf": text})
    theirs = tree.kmod("-c").err
    lines = [line.split(" line ")[1].split(":")[0] for line in theirs.splitlines() if " line " in line]
    assert [line.split(":")[1] for line in found] == lines == ["1", "2", "3", "4", "5", "6"]


def test_the_only_kernel_is_taken(tree: LiveTree) -> None:
    """Without --modules-dir a root with modules of one kernel is checked against those."""
    tree.configure({})
    out = io.StringIO()
    assert check_config([f"--root={tree.root}"], out) == 0
    assert out.getvalue() == f"0 findings in 0 files, checked against {tree.folder}\n"


def test_the_daemons_words_on_the_command_line(tree: LiveTree) -> None:
    """A setting that the daemon could not use is a finding, with its place."""
    _, found = check(tree, {"proc/cmdline": "quiet modaliasd.jobs=abc modaliasd.log=ledger"})
    assert found == [
        "kernel command line: `modaliasd.jobs=abc` is ignored: expected a number from 1 to 32768",
    ]


def test_usage() -> None:
    """Unknown arguments are the caller's fault."""
    for argv in (["x"], ["--root"], ["--root="]):
        with pytest.raises(UsageError, match=r"check-config: .*(expected|needs)"):
            check_config(argv, io.StringIO())


def test_no_modules(tmp_path: Path) -> None:
    """Without modules there is nothing to check against: the message says what is missing and what helps."""
    with pytest.raises(WorldError, match="give --modules-dir"):
        check_config(["--root", str(tmp_path)], io.StringIO())
    with pytest.raises(
        WorldError, match=r"cannot read .*modules\.dep: No such file or directory; create it with depmod"
    ):
        check_config(["--modules-dir", str(tmp_path)], io.StringIO())
