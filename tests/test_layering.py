"""Who may import whom (docs/architecture.md), read from the source with `ast`."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GUEST = ROOT / "daemon" / "modaliasd"
HELPER = ROOT / "daemon" / "micronetd"
HOST = ROOT / "hostbuild"

GUEST_SHELLS = {
    "sysfs",
    "netlink",
    "children",
    "ledger",
    "ledgerfile",
    "control",
    "indexfile",
    "kmsg",
    "config",
    "modulefacts",
    "kernelmodules",
    "marks",
    "terminal",
}
IMPURE = {
    "os",
    "posix",
    "socket",
    "_socket",
    "subprocess",
    "time",
    "select",
    "pathlib",
    "io",
    "mmap",
    "shutil",
}
# The host's modules that start nothing and open no socket: values, parsers, reckonings.
HOST_PURE = {
    "errors",
    "words",
    *(f"formats/{name}" for name in ("newc", "pieces", "elf", "kconfig", "vmlinuz")),
    *(f"image/{name}" for name in ("packages", "tree", "stdlib", "selections")),
    *(f"kbuild/{name}" for name in ("makefiles", "fitness", "progress")),
    *(f"ledger/{name}" for name in ("diff", "file", "watching")),
    *(f"predict/{name}" for name in ("capture", "prediction", "predict", "text", "learn", "prove")),
    *(f"qemu/{name}" for name in ("device", "machine", "ram", "references", "transcript", "verdict")),
}
# The host's parts, and which of them each may import; all may import the ground.
GROUND = {"errors", "files", "growth", "pathtypes", "room", "run", "scratch", "streams", "ui", "words"}
HOST_PARTS = {
    "formats": set(),
    "debs": set(),
    "kernel": {"debs", "formats"},
    "kbuild": {"debs", "formats", "kernel"},
    "imagekernel": {"debs", "formats"},
    "qemu": {"formats", "imagekernel", "kernel"},
    "ledger": {"formats", "qemu"},
    "report": {"ledger"},
    "predict": {"formats", "kernel", "ledger"},
    "image": {"debs", "formats", "kernel", "predict"},
    "demo": {"image", "qemu"},
    "commands": {"demo", "formats", "image", "kbuild", "kernel", "ledger", "predict", "qemu", "report"},
    "main": {"commands"},
}


def imported_names(source: Path) -> set[str]:
    """Absolute dotted names that the file imports anywhere, inside functions and type-checking blocks too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{source}: relative import"
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def sources(root: Path) -> list[Path]:
    return sorted(p for p in root.rglob("*.py") if "__pycache__" not in p.parts)


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("source", sources(GUEST / "core"), ids=label)
def test_core_is_pure(source: Path) -> None:
    """No module of the core touches a file, a socket, a process or a clock, or a shell that does."""
    for name in imported_names(source):
        assert name.split(".")[0] not in IMPURE, f"core imports {name}"
        if name.startswith("modaliasd."):
            assert name.startswith("modaliasd.core"), f"core imports the shell {name}"


@pytest.mark.parametrize("source", [p for p in sources(GUEST) if p.stem in GUEST_SHELLS], ids=label)
def test_guest_shells_do_not_import_one_another(source: Path) -> None:
    """A shell of the guest knows the core, and no other shell."""
    others = {f"modaliasd.{shell}" for shell in GUEST_SHELLS - {source.stem}}
    forbidden = others | {"modaliasd.service.loop", "modaliasd.cli"}
    assert not imported_names(source) & forbidden


@pytest.mark.parametrize("source", [*sources(GUEST), *sources(HELPER)], ids=label)
def test_the_daemon_and_the_network_helper_do_not_know_one_another(source: Path) -> None:
    """Neither imports the other, and what the helper needs of packages is none of the daemon's imports."""
    other = "micronetd" if source.is_relative_to(GUEST) else "modaliasd"
    foreign = {other, "pyroute2", "asyncio"} if source.is_relative_to(GUEST) else {other}
    assert not {name.partition(".")[0] for name in imported_names(source)} & foreign


@pytest.mark.parametrize("name", ["links", "settings"])
def test_the_helpers_decisions_are_pure(name: str) -> None:
    """What the helper decides, it decides without a file, a socket, a process or a clock."""
    names = {name.partition(".")[0] for name in imported_names(HELPER / f"{name}.py")}
    assert not names & (IMPURE | {"asyncio", "pyroute2"})


@pytest.mark.parametrize("source", sources(HOST), ids=label)
def test_host_imports_only_the_guests_core(source: Path) -> None:
    """hostbuild shares the guest's core and carries everything else of it as files."""
    for name in imported_names(source):
        assert name.partition(".")[0] != "micronetd"
        if name.startswith("modaliasd."):
            assert name.startswith("modaliasd.core"), f"hostbuild imports the guest's {name}"


@pytest.mark.parametrize("source", [HOST / f"{name}.py" for name in sorted(HOST_PURE)], ids=label)
def test_pure_host_modules_start_nothing(source: Path) -> None:
    """The host's pure modules import neither the subprocess gate nor anything that starts a process."""
    names = imported_names(source)
    assert not names & {"hostbuild.run", "subprocess", "socket"}


@pytest.mark.parametrize("source", sources(HOST), ids=label)
def test_host_parts_import_what_stands_below_them(source: Path) -> None:
    """A part of the host imports the ground and those parts that HOST_PARTS allows it; so there are no circles."""
    part = source.relative_to(HOST).parts[0].removesuffix(".py")
    if part in GROUND | {"__init__"}:
        return
    names = {name.split(".")[1] for name in imported_names(source) if name.startswith("hostbuild.")}
    assert names - GROUND - {part} <= HOST_PARTS[part]


@pytest.mark.parametrize("source", sources(HOST), ids=label)
def test_one_gate_for_child_processes(source: Path) -> None:
    """Only hostbuild/run.py starts child processes."""
    if source == HOST / "run.py":
        return
    assert "subprocess" not in {name.split(".")[0] for name in imported_names(source)}
