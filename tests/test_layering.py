"""Who may import whom, and who may touch the outside: docs/architecture.md's floors, by rule (support/layering.py)."""

import ast
from pathlib import Path

import pytest

from tests.support.layering import ALL, Room, circles, findings, imported, room

ROOT = Path(__file__).resolve().parent.parent

CORE = "modaliasd.core"
CORES = " ".join(
    [
        CORE,
        *(
            f"{CORE}.{name}"
            for name in ("uevent", "kmod", "index", "loading", "policy", "ledger", "ledger.answers", "root")
        ),
    ]
)
SERVED = "modaliasd.service.ports modaliasd.service.loads modaliasd.service.clients"
GUEST = {
    "modaliasd": room(),
    CORE: room(),
    f"{CORE}.uevent": room(CORE),
    f"{CORE}.kmod": room(CORE),
    f"{CORE}.index": room(f"{CORE} {CORE}.kmod"),
    f"{CORE}.loading": room(f"{CORE} {CORE}.kmod"),
    f"{CORE}.policy": room(f"{CORE} {CORE}.kmod {CORE}.loading"),
    f"{CORE}.ledger": room(f"{CORE} {CORE}.kmod {CORE}.loading"),
    f"{CORE}.ledger.answers": room(f"{CORE} {CORE}.kmod {CORE}.loading {CORE}.ledger"),
    f"{CORE}.root": room(f"{CORE} {CORE}.kmod {CORE}.loading {CORE}.ledger {CORE}.ledger.answers"),
    "modaliasd.linux": room(CORES, "*"),
    "modaliasd.linux.named": room(f"modaliasd.linux {CORES}", "*"),
    "modaliasd.linux.fullsystem": room(f"modaliasd.linux {CORES}", "*"),
    "modaliasd.linux.root": room(f"modaliasd.linux {CORES}", "*"),
    "modaliasd.service.ports": room(f"modaliasd.linux {CORES}"),
    "modaliasd.service.loads": room(f"modaliasd.service.ports modaliasd.linux {CORES}", "jobs"),
    "modaliasd.service.clients": room(f"modaliasd.service.ports modaliasd.linux {CORES}", "serve"),
    "modaliasd.service": room(
        f"modaliasd {SERVED} modaliasd.linux modaliasd.linux.named modaliasd.linux.fullsystem {CORES}",
        "assembly boot loop",
    ),
    "modaliasd.failure": room(f"{CORES} modaliasd.linux", "*"),
    "modaliasd.patience": room(f"{CORES} modaliasd.failure modaliasd.linux", "*"),
    "modaliasd.rootfs": room(
        f"modaliasd.service modaliasd.failure modaliasd.linux modaliasd.linux.root {CORES}",
        "boot daemon find mount report",
    ),
    "modaliasd.commands": room(
        f"modaliasd modaliasd.failure modaliasd.patience modaliasd.service {SERVED} modaliasd.linux "
        f"modaliasd.linux.named modaliasd.linux.fullsystem modaliasd.rootfs {CORES}",
        "*",
    ),
    "modaliasd.cli": room(
        f"modaliasd modaliasd.commands modaliasd.rootfs modaliasd.failure modaliasd.service modaliasd.linux {CORES}",
        "*",
    ),
}
HELPER = {
    "micronetd": room(),
    "micronetd.words": room(),
    "micronetd.domains": room(),
    "micronetd.plan": room("micronetd.words"),
    "micronetd.links": room("micronetd.plan"),
    "micronetd.routes": room(),
    "micronetd.answers": room("micronetd.domains micronetd.routes micronetd.words"),
    "micronetd.advertised": room("micronetd.domains"),
    "micronetd.settings": room("micronetd.answers micronetd.domains micronetd.routes micronetd.words"),
    "micronetd.log": room("", "*"),
    "micronetd.routers": room("micronetd.advertised", "*"),
    "micronetd.client": room("micronetd.answers", "*"),
    "micronetd.applied": room("micronetd.routes micronetd.settings", "*"),
    "micronetd.helper": room(
        "micronetd.advertised micronetd.applied micronetd.client micronetd.links micronetd.log micronetd.plan "
        "micronetd.routers micronetd.settings micronetd.words",
        "*",
    ),
}

AGENT = {
    "microagent": room("modaliasd.core"),
    "microagent.frames": room("modaliasd.core"),
    "microagent.messages": room("microagent modaliasd.core"),
    "microagent.streams": room("microagent.frames microagent.messages"),
    "microagent.process": room("microagent.messages modaliasd.core", "*"),
    "microagent.port": room("", "*"),
    "microagent.agent": room(
        "microagent.streams microagent.frames microagent.messages microagent.port microagent.process", "*"
    ),
}
LINE = "microagent microagent.frames microagent.messages"

GROUND = "hostbuild hostbuild.epoch hostbuild.errors hostbuild.log hostbuild.near hostbuild.arch"
EDGE = f"{GROUND} hostbuild.run hostbuild.ui hostbuild.fs"
FORMATS = (
    "hostbuild.formats hostbuild.formats.modules hostbuild.formats.initramfs hostbuild.formats.programs "
    "hostbuild.formats.devicetree"
)
HOST = {
    "hostbuild": room(),
    "hostbuild.errors": room(CORE),
    "hostbuild.near": room(),
    "hostbuild.epoch": room("hostbuild.errors", "*"),
    "hostbuild.arch": room("hostbuild.errors hostbuild.near", "*"),
    "hostbuild.board": room("hostbuild.arch"),
    "hostbuild.log": room(CORE, "*"),
    "hostbuild.run": room("hostbuild.arch hostbuild.errors hostbuild.log", "*"),
    "hostbuild.beside": room("hostbuild.errors hostbuild.fs hostbuild.run", "*"),
    "hostbuild.streams": room("hostbuild.errors", "*"),
    "hostbuild.interrupts": room("", "*"),
    "hostbuild.ui": room(f"hostbuild hostbuild.errors hostbuild.log {CORE}", "*"),
    "hostbuild.configfile": room(GROUND, "*"),
    "hostbuild.fs": room(f"{GROUND} hostbuild.ui", "*"),
    "hostbuild.formats": room(f"{GROUND} hostbuild.fs {CORES}", "compress elf manifest sniff"),
    "hostbuild.formats.modules": room(f"{GROUND} hostbuild.fs hostbuild.formats {CORES}", "modfile"),
    "hostbuild.formats.devicetree": room("hostbuild.errors"),
    "hostbuild.formats.programs": room(f"{GROUND} hostbuild.formats"),
    "hostbuild.formats.initramfs": room(f"{GROUND} hostbuild.fs hostbuild.formats", "archive"),
    "hostbuild.apt": room(f"{EDGE} {FORMATS}", "*"),
    "hostbuild.debs": room(f"{EDGE} {FORMATS} hostbuild.apt", "*"),
    "hostbuild.pybuild": room(
        f"{EDGE} {FORMATS} hostbuild.apt hostbuild.debs",
        "build compiling link loading packages source toolchain training workload",
    ),
    "hostbuild.kernels": room(f"{EDGE} {FORMATS} hostbuild.apt hostbuild.debs", "*"),
    "hostbuild.ledger": room(f"{EDGE} {FORMATS} {CORES}", "file"),
    "hostbuild.report": room(f"{EDGE} {FORMATS} hostbuild.ledger {CORES}", "html"),
    "hostbuild.predict": room(
        f"{EDGE} {FORMATS} hostbuild.kernels hostbuild.ledger {CORES}", "file machine target"
    ),
    "hostbuild.check": room(
        f"{EDGE} {FORMATS} hostbuild.debs hostbuild.kernels hostbuild.predict {CORES}", "kernel read"
    ),
    "hostbuild.image.filetree": room(EDGE, "*"),
    "hostbuild.image.modules": room(
        f"{EDGE} {FORMATS} hostbuild.debs hostbuild.kernels hostbuild.image.filetree {CORES}",
        "carried configured firmware module moduleset overlaid selection storage tree",
    ),
    "hostbuild.image.sources": room(
        f"{EDGE} modaliasd {FORMATS} hostbuild.apt hostbuild.debs hostbuild.kernels hostbuild.image.filetree "
        f"hostbuild.pybuild hostbuild.image.sources.bootpath {CORES}",
        "busybox cpython daemon kmod libraries overlay packages tools",
    ),
    "hostbuild.image.sources.bootpath": room("", "joined"),
    "hostbuild.image": room(
        f"{EDGE} modaliasd {FORMATS} hostbuild.apt hostbuild.debs hostbuild.kernels hostbuild.image.filetree "
        f"hostbuild.check hostbuild.image.modules hostbuild.image.sources hostbuild.pybuild {CORES}",
        "appended behind build from_tree kept made microcode pack uki",
    ),
    "hostbuild.sbom": room(f"{EDGE} {FORMATS} hostbuild.check {CORES}", "cyclonedx read spdx write"),
    "hostbuild.guest": room(
        f"{EDGE} {FORMATS} {LINE} {CORES}",
        "agent command far_end foreground port requirements share shell wire",
    ),
    "hostbuild.qemu": room(
        f"{EDGE} hostbuild.board hostbuild.beside {FORMATS} hostbuild.guest hostbuild.kernels hostbuild.ledger {LINE} "
        f"{CORES}",
        "accel catalog lines machine memory_probe monitor session vm",
    ),
    "hostbuild.kbuild": room(
        f"{EDGE} {FORMATS} hostbuild.kernels hostbuild.apt hostbuild.debs {CORES}",
        "build configfile configure drivers external modaliases options source toolchain remake",
    ),
}
HOST["hostbuild.live"] = room(
    f"{EDGE} hostbuild.beside hostbuild.debs {FORMATS} hostbuild.guest hostbuild.ledger hostbuild.qemu {LINE} {CORES}",
    "client command console detached folders keeper named names options ready terminal",
)
BOOTED = (
    f"{EDGE} modaliasd {FORMATS} hostbuild.guest hostbuild.kernels hostbuild.ledger hostbuild.image "
    f"hostbuild.image.sources hostbuild.qemu hostbuild.live {CORES}"
)
HOST["hostbuild.matrix.asked"] = room(f"{GROUND} hostbuild.qemu")
HOST["hostbuild.matrix.workers"] = room(
    f"{BOOTED} hostbuild.matrix.asked", "cluster engine parcels remote run_cell ssh ssh_line worker"
)
HOST["hostbuild.matrix.results"] = room(
    f"{EDGE} hostbuild.ledger hostbuild.matrix.asked {CORES}", "compared store"
)
HOST["hostbuild.matrix"] = room(
    f"{BOOTED} hostbuild.report hostbuild.matrix.asked hostbuild.matrix.workers hostbuild.matrix.results",
    "conduct prepare",
)
HOST["hostbuild.matrix.emit"] = room(
    f"{BOOTED} hostbuild.board hostbuild.matrix hostbuild.matrix.asked hostbuild.matrix.workers", "laid"
)
HOST["hostbuild.demo"] = room(f"{EDGE} hostbuild.image hostbuild.kernels hostbuild.qemu {CORES}", "*")
HOST["hostbuild.commands"] = room(f"{' '.join(HOST)} {LINE} {CORES}", "*")
HOST["hostbuild.commands.guests"] = room(f"{' '.join(HOST)} {LINE} {CORES}", "*")
HOST["hostbuild.commands.images"] = room(f"{' '.join(HOST)} {CORES}", "*")
HOST["hostbuild.main"] = room(
    f"{GROUND} hostbuild.commands hostbuild.ui hostbuild.streams hostbuild.interrupts hostbuild.fs {CORES}",
    "*",
)
HOST["hostbuild.__main__"] = room("hostbuild.main", "*")
HOST["hostbuild.testing"] = room(
    f"{EDGE} hostbuild.beside hostbuild.guest {FORMATS} hostbuild.apt hostbuild.debs hostbuild.kernels "
    f"hostbuild.kbuild hostbuild.ledger hostbuild.image "
    f"hostbuild.image.sources hostbuild.qemu {CORES}",
    "guest plugin pool",
)

READS = "from pathlib import Path\ndef f(p: Path):\n    return p.read_text()\n"
HALVES: dict[str, tuple[Path, dict[str, Room]]] = {
    "modaliasd": (ROOT / "daemon", GUEST),
    "micronetd": (ROOT / "daemon", HELPER),
    "microagent": (ROOT / "daemon", AGENT),
    "hostbuild": (ROOT, HOST),
}


@pytest.mark.parametrize("half", HALVES)
def test_everything_keeps_to_its_room(half: str) -> None:
    """Each module has a room, imports only what its room may, and touches the outside only where it is a shell."""
    where, rooms = HALVES[half]
    assert findings(where, half, rooms) == []


@pytest.mark.parametrize("half", HALVES)
def test_no_way_leads_back(half: str) -> None:
    """What the rooms may import forms no circle, so there is a lowest floor, and every other stands on those below."""
    assert circles(HALVES[half][1]) == []


@pytest.mark.parametrize("half", HALVES)
def test_every_row_has_its_room(half: str) -> None:
    """No row, and no shell in a row, is left over from a module that is gone."""
    where, rooms = HALVES[half]
    for name, row in rooms.items():
        path = where.joinpath(*name.split("."))
        assert path.is_dir() or path.with_suffix(".py").is_file(), name
        assert [one for one in row.shells - ALL if not (path / f"{one}.py").is_file()] == [], name


@pytest.mark.parametrize(
    ("path", "source", "finding"),
    [
        ("core/clock.py", "from time import monotonic\n", "is no shell, and imports time.monotonic"),
        ("core/ledger/x.py", "def f(p):\n    return open(p)\n", "is no shell, and calls open()"),
        ("core/kmod/x.py", READS, "is no shell, and calls .read_text()"),
        ("core/policy/x.py", "import os\nX = os.environ\n", "is no shell, and uses os.environ"),
        ("core/uevent/x.py", "from modaliasd.linux.netlink import X\n", "imports modaliasd.linux.netlink.X"),
        ("core/kmod/x.py", "from modaliasd.core.ledger.read import X\n", "imports modaliasd.core.ledger.read.X"),
        ("service/x.py", "import socket\nsocket.socket()\n", "is no shell, and uses socket.socket"),
        ("linux/x.py", "def f():\n    import modaliasd.service.loop\n", "imports modaliasd.service.loop"),
        ("attic/__init__.py", "", "no room of the table has a place for it"),
        ("core/attic/x.py", "", "no room of the table has a place for it"),
        ("attic.py", "", "no room of the table has a place for it"),
    ],
)  # fmt: skip
def test_a_module_in_the_wrong_place_is_found(tmp_path: Path, path: str, source: str, finding: str) -> None:
    """Whatever a module does that its room may not, it is named with it; a good one beside it is not."""
    good = tmp_path / "modaliasd/core/good.py"
    good.parent.mkdir(parents=True)
    good.write_text("import sys\nfrom modaliasd.core.errors import FormatError\nX = sys.intern('x')\n")
    bad = tmp_path / "modaliasd" / path
    bad.parent.mkdir(parents=True, exist_ok=True)
    bad.write_text(source)
    name = ".".join(bad.relative_to(tmp_path).with_suffix("").parts).removesuffix(".__init__")
    assert findings(tmp_path, "modaliasd", GUEST) == [f"{name}: {finding}"]


@pytest.mark.parametrize("half", ["modaliasd", "micronetd"])
def test_the_daemon_and_the_network_helper_do_not_know_one_another(half: str) -> None:
    """Neither imports the other, and what the helper needs of packages is none of the daemon's imports."""
    foreign = {"micronetd", "pyroute2", "asyncio"} if half == "modaliasd" else {"modaliasd"}
    for source in (ROOT / "daemon" / half).rglob("*.py"):
        names = imported(ast.parse(source.read_text(encoding="utf-8")))
        assert not {name.partition(".")[0] for name in names} & foreign, source


def _starts_processes(source: Path) -> bool:
    tree = ast.parse(source.read_text(encoding="utf-8"))
    called = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    modules = {name.partition(".")[0] for name in imported(tree)}
    return (
        bool(called & {"posix_spawn", "posix_spawnp", "fork", "forkpty", "system", "popen"})
        or "subprocess" in modules
    )


@pytest.mark.parametrize(
    "gate", ["hostbuild/run.py", "daemon/modaliasd/linux/process.py", "daemon/microagent/process.py"]
)
def test_one_gate_for_child_processes(gate: str) -> None:
    """Each part starts child processes in one module only; the guest's commands may become another program."""
    top = ROOT.joinpath(*Path(gate).parts[: 1 if gate.startswith("hostbuild") else 2])
    starting = [source for source in top.rglob("*.py") if _starts_processes(source)]
    assert starting == [ROOT / gate]


def test_no_folder_is_a_heap() -> None:
    """No package has more than sixteen modules directly in it: what grows beyond that is two rooms."""
    for top in (ROOT / "daemon", ROOT / "hostbuild"):
        for folder in [top, *(path for path in top.rglob("*") if path.is_dir())]:
            assert len([p for p in folder.glob("*.py") if p.name != "__init__.py"]) <= 16, folder
