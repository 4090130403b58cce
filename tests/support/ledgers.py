"""Ledgers for tests: a real one, and a maker of small ones.

tests/data/q35-boot.jsonl: Debian's kernel 6.1.0-56-amd64 on hostbuild's q35 machine under TCG, the ledger
that the guest sent, without the devices of 30 subsystems that ask for nothing (tty, workqueue and the like).
"""

import json
from pathlib import Path
from typing import Any

from modaliasd.core.ledger.read import PIECE, LedgerReader, read_records
from modaliasd.core.ledger.write import FORMAT

Q35 = Path(__file__).resolve().parents[1] / "data" / "q35-boot.jsonl"
START_US = 1_000_000


def q35_records() -> list[dict[str, Any]]:
    """The real ledger's records."""
    return [json.loads(line) for line in Q35.read_text(encoding="ascii").splitlines()]


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """All records of a ledger's file, in order; a line that is none is passed over."""
    with path.open("rb") as file:
        return list(read_records(LedgerReader(), iter(lambda: file.read(PIECE), b"")))


class Maker:
    """Records of a boot, one after the other; each takes a millisecond."""

    def __init__(self) -> None:
        self.t_us = START_US
        self._seqnum = 100
        self.records: list[dict[str, Any]] = []
        self.add("start", format=FORMAT, version="0.1.0", kernel="6.1.0-test", pid=60, index="mapped")
        self.add("walk", walk=1, reason="coldplug")

    def add(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Write one record; gives it."""
        record = {"type": kind, "t_us": self.t_us} | fields
        self.records.append(record)
        self.t_us += 1000
        return record

    def device(
        self,
        devpath: str,
        action: str = "coldplug",
        matches: list[tuple[str, str]] | None = None,
        **fields: str,
    ) -> None:
        """Write a device; matches: pairs of alias and module."""
        extra: dict[str, Any] = dict(fields)
        if matches is not None:
            extra["matches"] = [{"alias": alias, "line": 7, "module": module} for alias, module in matches]
        self._seqnum += 1
        how = {"walk": 1} if action == "coldplug" else {"seqnum": self._seqnum}
        self.add("device", action=action, devpath=devpath, **extra, **how)

    def load(self, module: str, *causes: dict[str, Any], outcome: str = "inserted", **fields: Any) -> None:
        """Write a load that began three milliseconds ago and was queued five ago."""
        times: dict[str, Any] = {"queued_us": self.t_us - 5000, "end_us": self.t_us}
        if outcome == "inserted":
            times |= {"start_us": self.t_us - 3000, "ms": 3.0}
        self.add("load", module=module, outcome=outcome, causes=list(causes), **times | fields)

    def settled(self, **fields: int) -> None:
        """Write a settle."""
        names = ("devices", "with_modalias", "matched", "bound", "loads", "failed", "lost")
        ms = (self.t_us - START_US) / 1000
        self.add("settled", seqnum=self._seqnum, ms=ms, **dict.fromkeys(names, 0) | fields)

    def text(self) -> str:
        """The ledger as its file has it."""
        return "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in self.records)


def asked_by(devpath: str, modalias: str, alias: str) -> dict[str, Any]:
    """A device as the cause of a load."""
    return {"devpath": devpath, "subsystem": "pci", "modalias": modalias, "alias": alias, "line": 7}


def small_boot() -> Maker:
    """A network card and its module with a dependency, a denied watchdog, a failing sensor, and a settle."""
    maker = Maker()
    nic, dog, sensor = (f"/devices/pci0000:00/0000:00:0{n}.0" for n in (3, 4, 5))
    maker.device(nic, subsystem="pci", modalias="pci:v1d1", matches=[("pci:v1d*", "nic")])
    maker.device(dog, subsystem="pci", modalias="pci:v2d2", matches=[("pci:v2*", "dog")])
    maker.device(sensor, subsystem="pci", modalias="pci:v3d3", matches=[("pci:v3*", "sensor")])
    maker.load(
        "dog",
        asked_by(dog, "pci:v2d2", "pci:v2*"),
        outcome="denied",
        message="blacklisted in /etc/modprobe.d/dogs.conf, line 3",
        failure="blacklist",
    )
    maker.load("mii", {"module": "nic"})
    maker.device(nic, "bind", subsystem="pci", modalias="pci:v1d1", driver="nic-driver", module="nic")
    maker.device(f"{nic}/net/eth0", "add", subsystem="net", ifname="eth0")
    maker.load("nic", asked_by(nic, "pci:v1d1", "pci:v1d*"), deps=["mii"])
    maker.load(
        "sensor",
        asked_by(sensor, "pci:v3d3", "pci:v3*"),
        outcome="failed",
        message="it is not in this image (modprobe: FATAL: Module sensor not found)",
        failure="not_in_image",
    )
    maker.settled(devices=4, with_modalias=3, matched=3, bound=1, loads=2, failed=1)
    return maker


def parse_ledger(data: bytes) -> list[dict[str, Any]]:
    """The records of a ledger's bytes, in order. FormatError for what is none."""
    return list(read_records(LedgerReader(), [data]))


def tree_boot() -> Maker:
    """A UART of a device tree, whose general driver comes, and a sensor that nothing is there for."""
    maker = Maker()
    uart, alias = "of:NserialT(null)Cacme,uart-2Cacme,uartCns16550a", "of:N*T*Cacme,uartC*"
    path = "/devices/platform/soc/9000.serial"
    maker.device(
        path, subsystem="platform", modalias=uart, of_node="/soc/serial@9000", matches=[(alias, "acme_uart")]
    )
    maker.device(
        "/devices/platform/soc/48.sensor", subsystem="i2c", modalias="of:NsensorT(null)Cacme,s", matches=[]
    )
    maker.load("acme_uart", asked_by(path, uart, alias))
    maker.settled(devices=2, matched=1, loads=1)
    return maker
