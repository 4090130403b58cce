"""Cells without guests, for tests of what hands them out: a job's command says what becomes of it.

Workers import this module by name, as they import hostbuild.matrix.workers.run_cell.
"""

import os
import signal
import time
from pathlib import Path

from hostbuild.matrix.asked.job import CellResult, Job, Lacking, Outcome, Parcel, Unable
from hostbuild.matrix.workers.parcels import cache_place, find_parcel
from hostbuild.qemu.machine import Machine

PARCEL = Parcel("0" * 32, "/nowhere", 0)


def make_job(name: str, *command: str, memory: int = 100, parcel: Parcel = PARCEL) -> Job:
    """A job that does what run_fake makes of its command."""
    key = name.encode().hex().ljust(32, "0")[:32]
    return Job(key, name, "run", parcel, Machine(), memory=memory, command=command)


def run_fake(job: Job) -> Outcome:
    """exit STATUS | sleep SECONDS | die FILE (until FILE is there) | qemu | image | raise | always-die."""
    word, *args = job.command
    if word == "exit":
        return CellResult(int(args[0]), 0.1, output=str(os.getpid()))
    if word == "sleep":
        time.sleep(float(args[0]))
    elif word == "die" and not Path(args[0]).exists():
        Path(args[0]).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == "always-die":
        with Path(args[0]).open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == "qemu" and os.environ.get("FAKE_NO_QEMU"):
        return Unable("the program qemu-system-x86_64 is not installed", "apt-get install qemu", whole=True)
    elif word == "image":
        image = find_parcel(job.parcel)
        if image is None:
            return Lacking(cache_place())
        return CellResult(0, 0.0, output=f"{os.environ.get('XDG_CACHE_HOME')} {image}")
    elif word == "raise":
        raise ValueError("a bug")
    return CellResult(0, 0.0, output=str(os.getpid()))
