"""A daemon's life with a /run that has no room: run by tests/guest/test_full_run.py in a mount namespace of its own.

Arguments: the directory that stands for /run, a tmpfs, and what it is to be without. Prints what came of
it as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from modaliasd.linux import bootstate, paths
from modaliasd.linux.control import Control
from modaliasd.linux.ledger import Ledger

HELPER = "/sbin/modprobe\n"


def main(run: Path, without: str) -> dict[str, object]:
    """One life, frozen, killed; another one; then there is room."""
    helper = run.parent / "helper"
    helper.write_text(HELPER)
    (run.parent / "frozen-modprobe").touch()
    names = {
        "LIVES": run / "modaliasd/lives",
        "FROZEN_MARK": run / "modaliasd/frozen",
        "SETTLED_MARK": run / "modaliasd/settled-hook-ran",
        "HOTPLUG_MARK": run / "modaliasd/hotplug",
        "KERNEL_HELPER": helper,
        "FROZEN_HELPER": run.parent / "frozen-modprobe",
    }
    for name, path in names.items():
        assert hasattr(paths, name)
        setattr(bootstate, name, str(path))
    said: dict[str, object] = {"before": bootstate.phase().value}
    if without != "nothing at all":
        first = os.fork()  # which had room, and was killed
        if first == 0:
            life(run)
            os._exit(0)
        os.waitpid(first, 0)
    spoil(run, without)
    said["files"] = sorted(path.name for path in run.rglob("*") if path.is_file())
    second = life(run)
    said |= {
        "lives": bootstate.count_life(),
        "ledger": second[0].problem,
        "control": second[1].problem,
        "hook": bootstate.first_settle(),
        "freeze": bootstate.freeze(),
        "helper": helper.read_text(),
        "after": bootstate.phase().value,
    }
    second[0].append('{"type":"frozen"}\n')
    second[0].flush()
    give_room(run)
    second[0].flush()
    said["late"] = (run / "modaliasd/ledger.jsonl").read_text()
    said["listens"] = second[1].listen()
    return said


def life(run: Path) -> tuple[Ledger, Control]:
    """What a daemon opens in /run."""
    return Ledger(str(run / "modaliasd/ledger.jsonl")), Control(str(run / "modaliasd/control"))


def spoil(run: Path, without: str) -> None:
    """Take the room away."""
    if without == "writing":
        subprocess.run(["mount", "-o", "remount,ro", str(run)], check=True)
        return
    try:
        for number in range(10_000):
            file = run / f"fill{number}"
            file.write_bytes(b"x" * 65536 if without == "blocks" else b"")
    except OSError:
        pass


def give_room(run: Path) -> None:
    """There is room again."""
    subprocess.run(["mount", "-o", "remount,rw", str(run)], check=True)
    for file in run.glob("fill*"):
        file.unlink()


if __name__ == "__main__":
    where = Path(sys.argv[1])
    print(json.dumps(main(where, sys.argv[2])))
