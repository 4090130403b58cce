"""From plugging a network card to a file fetched from the host: `make bench-network`.

A guest with `--with network` runs and has settled. A card is plugged in (QMP's device_add), whose driver is not loaded;
its network is QEMU's user network, and the host serves a small file on its loopback. Wall time on this machine, from
the command on: until the driver is bound (the ledger), until the card has its address (the helper's line on the
console), until busybox's wget in the guest has the file. Medians; run it on a machine that does nothing else.

    PYTHONPATH=. python benchmarks/bench_network.py [--times N] [--accel tcg|kvm]
"""

import argparse
import http.server
import statistics
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from hostbuild.image.build import ImageOptions, build_image
from hostbuild.image.sources.extras import Extra
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.session import prepare
from hostbuild.qemu.vm import VM

CARDS = {"virtio-net-pci": "virtio_net", "e1000e": "e1000e"}
MACHINE_ADDRESS = "10.0.2.2"  # the host, as QEMU's user network has it
FILE = b"fetched\n" * 128
LIMIT_S = 60.0
POLL_S = 0.002  # of the host's time


class _File(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer with the file, whatever is asked for."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(FILE)))
        self.end_headers()
        self.wfile.write(FILE)

    def log_message(self, *_what: object) -> None:
        """Say nothing."""


def plug(vm: VM, driver: str, port: int) -> tuple[float, float, float]:
    """Plug a card in, fetch the file, unplug it; return milliseconds to bound, to the address, to the file."""
    module = CARDS[driver]
    vm.check(f"rmmod {module} 2>/dev/null; ! grep -q '^{module} ' /proc/modules")
    since, addressed = len(vm.ledger), vm.console.count(" by DHCP")
    vm.monitor.execute("netdev_add", {"type": "user", "id": "net"})
    begun = time.monotonic()
    vm.device_add(driver, id="card", netdev="net")
    vm.wait_for(
        lambda record: record.get("action") == "bind" and record.get("driver") == module,
        since=since,
        timeout=LIMIT_S,
    )
    bound = time.monotonic()
    while vm.console.count(" by DHCP") == addressed:
        if time.monotonic() - begun > LIMIT_S:
            raise SystemExit(f"no address for {driver}:\n{vm.console[-2000:]}")
        time.sleep(POLL_S)
    has_address = time.monotonic()
    got = vm.check(f"wget -q -O - http://{MACHINE_ADDRESS}:{port}/file")
    fetched = time.monotonic()
    if got.strip() != FILE.decode().strip():
        raise SystemExit(f"the guest got something else: {got[:80]!r}")
    vm.device_del("card")
    vm.monitor.execute("netdev_del", {"id": "net"})
    return (bound - begun) * 1000, (has_address - begun) * 1000, (fetched - begun) * 1000


def main() -> None:
    """Measure each kind of card so many times, in one guest; print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--accel", default="auto", choices=("auto", "tcg", "kvm"))
    arguments = parser.parse_args()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _File)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as scratch:
        options = ImageOptions(
            kernel="deb:linux-image-amd64", modules="virtio,e1000e", extras=(Extra.NETWORK,)
        )
        built = build_image(Path(scratch) / "network.img", options)
        machine = replace(read_machine("empty"), root_ports=2)
        session = prepare(
            built.image, machine, memory="256", accel=arguments.accel, agent=True, limit_s=1800.0
        )
        print("| card | device_add to bound | to its address | to the file |")
        print("|---|--:|--:|--:|")
        with session.vm() as vm:
            vm.settled(timeout=150)
            limit = time.monotonic() + LIMIT_S
            while vm.sh("pidof micronetd").status != 0:
                if time.monotonic() > limit:
                    raise SystemExit("the helper has not begun")
                time.sleep(0.5)
            time.sleep(5)  # it listens by then
            for driver in CARDS:
                runs = [plug(vm, driver, server.server_port) for _ in range(arguments.times)]
                medians = (statistics.median(column) for column in zip(*runs, strict=True))
                print(f"| `{driver}` | {' | '.join(f'{value:,.0f} ms' for value in medians)} |", flush=True)
    server.shutdown()


if __name__ == "__main__":
    main()
