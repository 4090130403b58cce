"""How fast bytes go into and out of a guest: over the agent's serial line, and over a virtio port.

One guest, whose ways are measured in turn; the medians of several runs, by the wall: compare them on one machine.

    PYTHONPATH=. python benchmarks/bench_agent.py [--runs 5] [--kernel KERNEL]
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from hostbuild.guest.agent import Agent
from hostbuild.guest.command import request, run_to_end
from hostbuild.image.build import ImageOptions, build_image
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.session import prepare
from hostbuild.qemu.vm import VM

LIMIT_S = 3600.0
TRIGGER = "/sys/class/tty/ttyS2/rx_trig_bytes"


def rate(agent: Agent, script: str, *, into: int = 0, out: int = 0) -> float:
    """Run a script with so many bytes on its standard input, or from its standard output; return KB/s."""
    data = os.urandom(into)
    begun = time.monotonic()
    done = run_to_end(agent, request(["sh", "-c", script]), stdin=data, timeout=LIMIT_S)
    took = time.monotonic() - begun
    assert done is not None
    assert done.status == 0, done.stderr
    assert len(done.stdout) == out
    return (into + out) / 1000 / took


def measure(agent: Agent, into: int, out: int) -> tuple[float, float]:
    """Return the rates into and out of the guest."""
    return rate(agent, "cat >/dev/null", into=into), rate(agent, f"head -c {out} /dev/zero", out=out)


def ways(vm: VM) -> dict[str, tuple[float, float]]:
    """Measure each way once."""
    line, found = vm.line_agent(), {}
    for bytes_ in (8, 14):  # Linux's own for a 16550A; usr/lib/micro/agent's
        assert run_to_end(line, request(["sh", "-c", f"echo {bytes_} >{TRIGGER}"]), timeout=60)
        found[f"serial line, interrupt at {bytes_} bytes"] = measure(line, 60_000, 1_000_000)
    found["virtio port"] = measure(vm.agent(), 3_000_000, 10_000_000)
    return found


def main() -> None:
    """Boot, measure, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--kernel", default="deb:linux-image-amd64")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        image = build_image(Path(directory, "x.img"), ImageOptions(given.kernel, modules="virtio"))
        session = prepare(image.image, read_machine("virtio"), accel="tcg", agent=True, limit_s=LIMIT_S)
        with session.vm() as vm:
            vm.settled(timeout=300)
            vm.agent()
            vm.take_port()
            runs = [ways(vm) for _ in range(given.runs)]
    print(f"{'KB/s, medians of ' + str(given.runs):36} {'in':>8} {'out':>8}")
    for way in runs[0]:
        into, out = (statistics.median(run[way][side] for run in runs) for side in (0, 1))
        print(f"{way:36} {into:8.0f} {out:8.0f}")


if __name__ == "__main__":
    main()
