"""loader.py, process.py and kmsg.py with a modprobe that is a shell script on a made-up /sys."""

import json
import select
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from modaliasd.core.device import Phase
from modaliasd.core.kmod.invocation import Flavour
from modaliasd.core.kmod.modprobe_d import EMPTY
from modaliasd.core.kmod.modules_dep import Dependencies
from modaliasd.core.kmod.resolve import Resolver
from modaliasd.core.loading.cause import Cause
from modaliasd.core.loading.priority import Rank
from modaliasd.linux.config import read_config
from modaliasd.linux.kmsg import KernelLog
from modaliasd.linux.ledger import Ledger
from modaliasd.linux.process import is_safe_name, reap, start
from modaliasd.linux.procmodules import file_size, read_live_modules
from modaliasd.linux.sysfs import Sysfs
from modaliasd.service.gate import Gate
from modaliasd.service.loads.loader import Loader
from modaliasd.service.loads.tools import Tools
from modaliasd.service.writer import LedgerWriter
from tests.support.schema import check_records

DEP = """kernel/drivers/base.ko:
kernel/drivers/net/nic.ko: kernel/drivers/base.ko
kernel/drivers/block/disk.ko: kernel/drivers/base.ko
kernel/sound/snd.ko:
"""
ALIASES = {"pci:nic": "nic", "pci:disk": "disk", "pci:snd": "snd"}

# Inserts what modules.dep says; NAME.says holds what goes wrong instead. Every call is a line of `calls`.
MODPROBE = """#!/bin/sh
cd "$(dirname "$0")" || exit 1
echo "$(basename "$0") $* MODULE=$MODPROBE_MODULE" >>calls
status=0
for word; do
    case $word in
    -*) continue ;;
    nic | disk) set -- base $word ;;
    *) set -- $word ;;
    esac
    for module; do
        if [ -e $module.says ]; then
            . ./$module.says >&2
            status=1
            break
        fi
        mkdir -p sys/module/$module
        echo live >sys/module/$module/initstate
    done
done
exit $status
"""


class Bench:
    """A loader in a directory of its own, and what it needs."""

    def __init__(self, root: Path, *, conf: str = "", live: tuple[str, ...] = (), **more: Any) -> None:
        self.root = root
        for name in ("sys/module", "etc/modprobe.d", "kernel/drivers/net", "kernel/drivers/block"):
            (root / name).mkdir(parents=True)
        (root / "etc/modprobe.d/t.conf").write_text(conf)
        for tool in ("modprobe", "insmod"):
            (root / tool).write_text(MODPROBE)
            (root / tool).chmod(0o755)
        (root / "kmsg").touch()
        self.now = 0
        self._poll = select.poll()
        self.ledger = Ledger(str(root / "ledger.jsonl"))
        tools = Tools(str(root / "modprobe"), str(root / "insmod"), "/bin/sh", Flavour.KMOD, str(root))
        clock = lambda: self.now  # noqa: E731
        writer = LedgerWriter(ledger=self.ledger, clock=clock)
        sysfs = Sysfs(str(root / "sys"))
        self.resolver = Resolver(
            read_config(str(root)),
            Dependencies(DEP),
            lambda modalias: [(ALIASES[modalias], "pci:*", 7, False)] if modalias in ALIASES else [],
        )
        gate = Gate(
            policy=None,
            phase=Phase.COLDPLUG,
            resolver=self.resolver,
            follows_softdeps=True,
            sysfs=sysfs,
            writer=writer,
            clock=clock,
        )
        self.loader = Loader(
            tools=more.pop("tools", tools),
            sysfs=sysfs,
            writer=writer,
            kernel_log=KernelLog(str(root / "kmsg")),
            gate=gate,
            clock=clock,
            live=live,
            limit=more.pop("limit", 4),
            **more,
        )

    def want(self, lookup: str, devpath: str = "/devices/d") -> None:
        """A device with this modalias is there, or somebody asks for this name."""
        by_device = ":" in lookup
        cause = Cause(devpath, "pci", lookup) if by_device else Cause(request="test")
        self.loader.want(self.resolver.resolve(lookup), cause, lookup if by_device else "")

    def run(self) -> dict[str, dict[str, Any]]:
        """Load until nothing is left to do; the ledger's loads by module."""
        self.start()
        while not self.loader.scheduler.idle:
            self.now += 1000
            ready = self._poll.poll(10_000)
            assert ready, "no job ends"
            for pidfd, _events in ready:
                self._poll.unregister(pidfd)
                self.loader.finish(pidfd)
            self.start()
        return self.loads()

    def start(self) -> None:
        """Start what may run now."""
        for pidfd in self.loader.start_jobs():
            self._poll.register(pidfd, select.POLLIN)

    def loads(self) -> dict[str, dict[str, Any]]:
        """The ledger's loads by module; every line of it keeps to the schema."""
        self.loader.write_ended()
        self.ledger.flush()
        records = [json.loads(line) for line in (self.root / "ledger.jsonl").read_text().splitlines()]
        check_records(records)
        return {record["module"]: record for record in records if record["type"] == "load"}

    def calls(self) -> list[str]:
        """The calls of modprobe and insmod, without what was in the environment."""
        try:
            return [line.partition(" MODULE=")[0] for line in (self.root / "calls").read_text().splitlines()]
        except OSError:
            return []


def test_a_device_has_its_module_inserted(tmp_path: Path) -> None:
    """One modprobe gets the plain name after -b -a --; the ledger has device, alias, line and dependency."""
    bench = Bench(tmp_path)
    bench.want("pci:nic")
    loads = bench.run()
    assert bench.calls() == ["modprobe -b -a -- nic"]
    assert loads["nic"]["outcome"] == loads["base"]["outcome"] == "inserted"
    assert loads["nic"]["deps"] == ["base"]
    assert loads["nic"]["causes"] == [
        {"devpath": "/devices/d", "subsystem": "pci", "modalias": "pci:nic", "alias": "pci:*", "line": 7}
    ]
    assert loads["base"]["causes"] == [{"module": "nic"}]


def test_each_module_is_given_to_one_modprobe(tmp_path: Path) -> None:
    """Two drivers that share a dependency, wanted by many devices: a call each, the second without the wait's cost."""
    bench = Bench(tmp_path)
    for number in range(5):
        bench.want("pci:nic", f"/devices/nic{number}")
        bench.want("pci:disk", f"/devices/disk{number}")
    loads = bench.run()
    assert sorted(bench.calls()) == ["modprobe -b -a -- disk", "modprobe -b -a -- nic"]
    assert len(loads["nic"]["causes"]) == len(loads["disk"]["causes"]) == 5


def test_live_modules_cost_nothing(tmp_path: Path) -> None:
    """A module that the kernel has already is recorded as live, without a process."""
    bench = Bench(tmp_path, live=("nic", "base"))
    bench.want("pci:nic")
    assert bench.run()["nic"]["outcome"] == "live"
    assert bench.calls() == []


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ("\nblacklist nic\n", "blacklist: /etc/modprobe.d/t.conf:2"),
        ("blacklist snd\nblacklist nic\n", "blacklist: /etc/modprobe.d/t.conf:2"),
    ],
)
def test_a_denial_names_its_line(tmp_path: Path, conf: str, message: str) -> None:
    """A blacklisted module is not given to modprobe; the record says which line of which file denies it."""
    bench = Bench(tmp_path, conf=conf)
    bench.want("pci:nic")
    load = bench.run()["nic"]
    assert (load["outcome"], load["message"]) == ("denied", message)
    assert bench.calls() == []


SAID = [
    ('echo "modprobe: can\'t load module nic (nic.ko): No such device"', "", "nodevice", "ENODEV"),
    (
        "echo \"modprobe: ERROR: could not insert 'nic': Exec format error\"",
        "nic: version magic '5.0' should be '6.1'",
        "failed",
        "built for another kernel",
    ),
    (
        'echo "modprobe: could not insert nic: Unknown symbol in module"',
        "nic: Unknown symbol foo (err -2)",
        "failed",
        "needs a symbol",
    ),
    (
        'echo "modprobe: could not insert nic: Key was rejected by service"',
        "",
        "failed",
        "signature is missing or bad",
    ),
    (
        'echo "insmod: nic.ko.xz: invalid module format"',
        "Invalid ELF header magic: != ELF",
        "failed",
        "compressed",
    ),
    ('echo "modprobe: module nic not found in modules.dep"', "", "failed", "not in this image"),
    ("kill -KILL $$", "", "failed", "signal 9"),
    (":", "", "failed", "status 1 and said nothing"),
]


@pytest.mark.parametrize(
    ("says", "kernel", "outcome", "words"),
    SAID,
    ids=["nodevice", "vermagic", "symbol", "key", "compressed", "missing", "killed", "silent"],
)
def test_failures_are_explained(tmp_path: Path, says: str, kernel: str, outcome: str, words: str) -> None:
    """The outcome comes with what modprobe and the kernel said, and with what it means."""
    bench = Bench(tmp_path)
    (tmp_path / "nic.says").write_text(says + "\n")
    if kernel:
        (tmp_path / "nic.says").write_text(f'{says}\necho "3,1,1,-;{kernel}" >>kmsg\n')
    bench.want("pci:nic")
    load = bench.run()["nic"]
    assert load["outcome"] == outcome
    assert words in load["message"]
    assert kernel in load["message"]


def test_a_failed_dependency_is_blamed(tmp_path: Path) -> None:
    """A driver fails because of its dependency, and says so; another one is loaded all the same."""
    bench = Bench(tmp_path)
    (tmp_path / "base.says").write_text('echo "modprobe: could not insert base: Invalid argument"\n')
    for modalias in ("pci:nic", "pci:disk", "pci:snd"):
        bench.want(modalias)
    loads = bench.run()
    assert loads["nic"]["message"].startswith("it needs base, which is failed: ")
    assert loads["disk"]["message"].startswith("it needs base, which is failed: ")
    assert loads["snd"]["outcome"] == "inserted"
    assert (loads["nic"]["failure"], loads["disk"]["blocked_by"]) == ("dependency", "base")
    assert len(bench.calls()) == 2, "the disk's modprobe would have failed, and was never started"


def test_a_modprobe_that_is_not_there(tmp_path: Path) -> None:
    """Without the program the record names it and the errno's words; the daemon lives on."""
    tools = Tools("/nowhere/modprobe", "", "", Flavour.KMOD, str(tmp_path))
    bench = Bench(tmp_path, tools=tools)
    bench.want("pci:snd")
    assert bench.run()["snd"]["message"] == "cannot run /nowhere/modprobe: No such file or directory"


def test_names_that_are_no_names(tmp_path: Path) -> None:
    """What could be an option or a path never reaches a process."""
    assert not any(map(is_safe_name, ["", "-r", "../x", "a b", "x;y", "n\xe4me", "." * 3, "x" * 256]))
    assert all(map(is_safe_name, ["snd_pcm", "8139too", "x-y.z"]))
    bench = Bench(tmp_path, conf="alias pci:nic -r\n")
    bench.want("pci:nic")
    assert bench.run()["_r"]["outcome"] == "failed"
    assert bench.calls() == []


def test_busybox_gets_an_install_lines_command_by_the_shell(tmp_path: Path) -> None:
    """The command runs with the options and the module's name in its environment, in place of the module."""
    tools = Tools(str(tmp_path / "modprobe"), "", "/bin/sh", Flavour.BUSYBOX, str(tmp_path))
    conf = f'install snd echo "$MODPROBE_MODULE $CMDLINE_OPTS" >{tmp_path}/ran\noptions snd a=1\n'
    bench = Bench(tmp_path, conf=conf, tools=tools)
    bench.want("pci:snd")
    assert bench.run()["snd"]["outcome"] == "command"
    assert (tmp_path / "ran").read_text() == "snd a=1\n"


def test_a_slow_load_is_reported_and_left_alone(tmp_path: Path) -> None:
    """Past the limit it is named once, with its device, and goes on to its end; others are loaded meanwhile."""
    bench = Bench(tmp_path)
    (tmp_path / "nic.says").write_text('while [ ! -e go ]; do sleep 0.02; done; rm nic.says; "$0" nic\n')
    bench.want("pci:nic", "/devices/slow")
    bench.want("pci:snd")
    bench.start()
    assert bench.loader.report_slow(limit_us=5000) == 6
    assert bench.loader.stuck() == []
    bench.now += 7000
    assert bench.loader.report_slow(limit_us=5000) == -1
    assert bench.loader.report_slow(limit_us=5000) == -1
    assert bench.loader.stuck() == ["base", "nic", "snd"], "whose end has not been seen yet"
    assert [cause.devpath for cause in bench.loader.causes() if cause.devpath] == [
        "/devices/slow",
        "/devices/d",
    ]
    bench.ledger.flush()
    records = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    slow = [record for record in records if record["type"] == "slow" and record["module"] == "nic"]
    assert [(record["running_ms"], record["causes"][0]["devpath"]) for record in slow] == [
        (7, "/devices/slow")
    ]
    (tmp_path / "go").touch()
    loads = bench.run()
    assert loads["nic"]["outcome"] == loads["snd"]["outcome"] == "inserted"


def test_who_inserted_it(tmp_path: Path) -> None:
    """A `module` uevent for what a job inserts is its own; for anything else it is somebody else's doing."""
    bench = Bench(tmp_path)
    bench.want("pci:nic")
    bench.start()
    bench.now = 500
    assert not bench.loader.appeared("base", 400)
    assert bench.loader.appeared("dummy", 450)
    bench.want("dummy")
    assert bench.run()["base"]["start_us"] == 400


def test_an_event_that_comes_after_its_jobs_end_is_still_its_own(tmp_path: Path) -> None:
    """Where events queue up, the job may have ended before: it is its insertion all the same, but only once."""
    bench = Bench(tmp_path)
    bench.want("pci:nic")
    bench.run()
    assert not bench.loader.appeared("nic", 10**6)
    bench.loader.left("nic")
    assert bench.loader.appeared("nic", 10**7)


def test_a_removed_module_is_loaded_again(tmp_path: Path) -> None:
    """After its `remove` uevent the next device has it inserted anew."""
    bench = Bench(tmp_path)
    for _ in range(2):
        bench.want("pci:snd")
        bench.run()
        bench.loader.left("snd")
    assert bench.calls() == ["modprobe -b -a -- snd"] * 2


def test_configured_ranks_go_before_all_others(tmp_path: Path) -> None:
    """modaliasd.first= puts a module before every disk, modaliasd.last= a disk behind all else."""
    ranks = {"snd": Rank.FIRST, "disk": Rank.LATE}
    bench = Bench(tmp_path, limit=1, ranks=ranks)
    for modalias in ("pci:disk", "pci:nic", "pci:snd"):
        bench.want(modalias)
    bench.run()
    assert [call.rpartition(" ")[2] for call in bench.calls()] == ["snd", "nic", "disk"]


def test_what_nobody_waits_for_waits_for_the_walk(tmp_path: Path) -> None:
    """During the first walk of /sys sound and the like do not start beside what leads to disks; afterwards they do."""
    bench = Bench(tmp_path)
    bench.want("pci:snd")
    bench.want("pci:disk")
    (pidfd,) = bench.loader.start_jobs(coldplug=True)
    select.select([pidfd], [], [], 10)
    bench.loader.finish(pidfd)
    assert bench.loader.start_jobs(coldplug=True) == []
    assert bench.calls() == ["modprobe -b -a -- disk"]
    assert bench.run()["snd"]["outcome"] == "inserted"


def test_a_silent_grandchild_is_not_waited_for(tmp_path: Path) -> None:
    """What a child said is read to its end even if a daemon that it started keeps the pipe open."""
    child = start("/bin/sh", ["-c", "echo said >&2; sleep 30 & exit 3"])
    select.select([child.pidfd], [], [], 10)
    began = time.monotonic()
    ended = reap(child)
    assert (ended.status, ended.words) == (3, "said\n")
    assert time.monotonic() - began < 20


def test_long_complaints_are_cut(tmp_path: Path) -> None:
    """What the pipe holds is kept, at most 64 KiB of it; no byte that is not UTF-8 stops the daemon."""
    code = r"import os; os.set_blocking(2, False); os.write(2, b'\xff' * 60000)"
    child = start(sys.executable, ["-c", code])
    select.select([child.pidfd], [], [], 20)
    ended = reap(child)
    assert ended.words == "\udcff" * 60000


def test_the_kernels_log_from_now_on(tmp_path: Path) -> None:
    """What was there before the start is passed over; a record's head and its dictionary are cut off."""
    path = tmp_path / "kmsg"
    path.write_bytes(b"6,1,1,-;old\n")
    log = KernelLog(str(path))
    assert log.lines() == []
    with path.open("ab") as file:
        file.write(b"3,2,2,-;nic: \xff bad; worse\n SUBSYSTEM=pci\n")
    assert log.lines() == ["nic: \ufffd bad; worse"]
    assert KernelLog("/nowhere").lines() == []


def test_sizes_and_live_modules(tmp_path: Path) -> None:
    """A module's size is its file's; what is not there has none, and no /proc/modules has no modules."""
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/m.ko").write_bytes(b"x" * 123)
    assert file_size(str(tmp_path), "kernel/m.ko") == file_size("", f"{tmp_path}/kernel/m.ko") == 123
    assert file_size(str(tmp_path), "kernel/gone.ko") == file_size(str(tmp_path), "") == 0
    (tmp_path / "modules").write_text("nvme 1 2 - Live 0x0\nvirtio_ring 1 0 nvme, Loading 0x0\n")
    assert read_live_modules(str(tmp_path / "modules")) == ["nvme", "virtio_ring"]
    assert read_live_modules("/nowhere") == []


def test_what_has_left_unheard_is_found_by_asking_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uevents were lost: what is no longer live can be loaded again, what came is live; what is loading stays."""
    bench = Bench(tmp_path)
    bench.want("pci:nic")
    bench.run()
    (tmp_path / "snd.says").write_text('while [ ! -e go ]; do sleep 0.02; done; rm snd.says; "$0" snd\n')
    bench.want("pci:snd")
    bench.start()
    bench.loader.live.add("snd")  # its event came, and its modprobe has not ended
    monkeypatch.setattr("modaliasd.service.loads.loader.read_live_modules", lambda: ["base", "other"])
    bench.loader.recheck_live()
    assert bench.loader.scheduler.load_of("nic") is None, "it can be wanted anew"
    assert bench.loader.scheduler.load_of("base") is not None
    snd = bench.loader.scheduler.load_of("snd")
    assert snd is not None
    assert snd.running
    assert bench.loader.live == {"base", "other", "snd"}
    (tmp_path / "go").touch()
    assert bench.run()["snd"]["outcome"] == "inserted"


def test_when_a_load_is_slow_to_the_microsecond(tmp_path: Path) -> None:
    """At the limit, and not before it; the time until then is rounded up, or the loop would turn for nothing."""
    bench = Bench(tmp_path)
    (tmp_path / "snd.says").write_text('while [ ! -e go ]; do sleep 0.02; done; rm snd.says; "$0" snd\n')
    bench.want("pci:snd")
    bench.start()
    bench.now += 4999
    assert bench.loader.report_slow(limit_us=5000) == 1
    assert bench.loader.stuck() == []
    bench.now += 1
    assert bench.loader.report_slow(limit_us=5000) == -1
    assert bench.loader.stuck() == ["snd"]
    (tmp_path / "go").touch()
    bench.run()


def test_a_file_of_no_modules_name_is_told_and_not_run(tmp_path: Path) -> None:
    """modules.dep may have it, and an alias lead to it: it fails by a kind of its own, because of the device."""
    bench = Bench(tmp_path)
    bench.resolver = Resolver(EMPTY, Dependencies("kernel/a;b.ko:\n"), lambda _: [("a;b", "pci:*", 7, False)])
    bench.want("pci:odd", "/devices/odd")
    load = bench.run()["a;b"]
    assert (load["outcome"], load["failure"]) == ("failed", "unsafe_name")
    assert "not a module's name" in load["message"]
    assert [cause["devpath"] for cause in load["causes"]] == ["/devices/odd"]
    assert bench.calls() == []


def test_what_is_known(tmp_path: Path) -> None:
    """What is live, and what was asked for, whatever became of it."""
    bench = Bench(tmp_path, live=("base",))
    assert [bench.loader.is_known(name) for name in ("base", "nic", "snd")] == [True, False, False]
    bench.want("pci:nic")
    assert [bench.loader.is_known(name) for name in ("base", "nic", "snd")] == [True, True, False]
    assert bench.loader.is_pending("nic")
    bench.run()
    assert bench.loader.is_known("nic")
    assert not bench.loader.is_pending("nic")


def test_a_ring_that_was_given_up_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should loads ever wait for one another, the ledger names them in their order, and the kernel's log as well."""
    bench = Bench(tmp_path)
    monkeypatch.setattr(bench.loader.scheduler, "break_ring", lambda _now_us: ["a", "b", "c"])
    bench.now = 5
    bench.start()
    bench.ledger.flush()
    [record] = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert (record["type"], record["what"]) == ("warning", "ring of loads")
    assert record["message"].startswith("a -> b -> c -> a: each waited for the next")
