"""service/chores.py: what files name is asked for, with options, and what goes wrong is told."""

from pathlib import Path
from typing import Any

from modaliasd.core.kmod.modules_load import Listed
from modaliasd.service.chores import do_chores
from tests.support.gaterig import GateRig

DEP = "kernel/a.ko: kernel/b.ko\nkernel/b.ko:\nkernel/nic.ko:\n"


def jobs(rig: GateRig) -> list[tuple[str, ...]]:
    """What the scheduler would have started, a job's modules each."""
    found = []
    while job := rig.loader.scheduler.next_job(rig.clock()):
        found.append(job.modules)
    return found


def causes(rig: GateRig, module: str) -> list[dict[str, Any]]:
    """Why the module is wanted."""
    load = rig.loader.scheduler.load_of(module)
    assert load is not None
    return [cause.fields() for cause in load.causes]


def test_options_behind_a_name() -> None:
    """They go to the module that the line names, and not to what it needs; the file is the cause."""
    rig = GateRig(DEP, {}, conf="options a x=1\n")
    assert rig.registry.want_listed(Listed("a", "y=2", "/etc/modules", 3)) == []
    assert jobs(rig) == [("b",)]  # options need a process of their own
    assert causes(rig, "a") == [{"request": "/etc/modules"}]
    assert causes(rig, "b") == [{"module": "a"}]
    assert rig.loader._steps["a"].options == "x=1 y=2"
    assert rig.loader._steps["b"].options == ""


def test_options_that_come_too_late() -> None:
    """A device had the module loaded first: it is told, with the line that would have helped."""
    rig = GateRig(DEP, {"pci:nic": ["nic"]})
    rig.plug("/devices/0", "pci:nic")
    (message,) = rig.registry.want_listed(Listed("nic", "debug=1", "/etc/modules", 1))
    assert "put `options nic debug=1` into a file of /etc/modprobe.d" in message
    assert causes(rig, "nic")[1] == {"request": "/etc/modules"}
    assert rig.registry.want_listed(Listed("nic", "", "/etc/modules", 1)) == []


def test_a_blacklist_counts() -> None:
    """As systemd-modules-load does, and other than modprobe by hand."""
    rig = GateRig(DEP, {}, conf="blacklist nic\n")
    rig.registry.want_listed(Listed("nic", "", "/etc/modules", 1))
    rig.settle()
    (load,) = [r for r in rig.records() if r["type"] == "load"]
    assert (load["outcome"], load["message"]) == ("denied", "blacklist: t.conf:1")
    assert load["causes"] == [{"request": "/etc/modules"}]


def test_warnings(tmp_path: Path) -> None:
    """Each has its file and line; nothing is loaded again in a boot that has settled."""
    rig = GateRig(DEP, {})
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/modules").write_text("#\nnothing\na\n")
    (tmp_path / "modules.devname").write_text("fuse fuse\n")
    for again in (False, True):
        do_chores(
            modules_dir=str(tmp_path),
            command_line="",
            load_listed=not again,
            registry=rig.registry,
            writer=rig.writer,
            root=str(tmp_path),
        )
    found = [(r["what"], r["path"], r["line"]) for r in rig.records() if r["type"] == "warning"]
    nodes = ("static nodes", f"{tmp_path}/modules.devname", 1)
    assert found == [nodes, ("modules-load.d", "/etc/modules", 2), nodes]
    assert jobs(rig) == [("b", "a")]
