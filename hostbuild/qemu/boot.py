"""What is booted, and the words by which the guest finds its serial lines: a value, and QEMU's command line for it."""

from dataclasses import dataclass
from pathlib import Path

from hostbuild.guest.share import Share, Transport, share_argv
from hostbuild.qemu.accel import Accel, why_in_turns
from hostbuild.qemu.machine import Machine, machine_argv
from hostbuild.qemu.outside import with_shared_memory

# The contract with the guest: words, and what is in front of a line's device (board.py).
PANIC_APPEND = "panic=-1"  # a panic ends the machine at once (with -no-reboot) instead of standing still
CONSOLE_WORD, CHANNEL_WORD, AGENT_WORD = "console=", "modaliasd.channel=", "micro.agent="
# A kernel tests each of its ciphers at each boot: of the 1.9 s before init, by instructions, 0.9 on Debian's 6.1. What
# a distributor has built and tested need not pass again in each guest. Source: crypto/testmgr.c; with fips=1 it does.
TESTED_APPEND = "cryptomgr.notests"
POWEROFF_APPEND = "modaliasd.poweroff=settled"
# The console's beginning is for the host to filter (hostbuild.live.quiet); after the first settle only warnings come.
QUIET_APPEND = "micro.console=quiet printk.time=1"
# Where nobody can type at the console: its greeting and its question for the terminal's size would be in the way.
NO_SHELL_APPEND = "micro.shell=no"


@dataclass(frozen=True, slots=True)
class Boot:
    """What to boot and how.

    memory: MiB, unless the machine fixes its own. icount: virtual time by instructions (see machine_argv).
    agent: an agent runs commands, on the third serial line. poweroff: the guest switches itself off once it has
    settled. quiet: the console is made to be filtered (live/quiet.py). shell: the console has one. dtb: a device tree
    in place of the board's own. extra: more of QEMU's arguments. shares: folders of this machine's that the guest can
    mount.
    limit_s: the machine's whole life in seconds of wall time; it is ended then.
    """

    kernel: Path
    initrd: Path
    append: str = ""
    accel: Accel = Accel.TCG
    memory: int = 512
    icount: bool = False
    agent: bool = True
    poweroff: bool = False
    quiet: bool = False
    shell: bool = True
    dtb: Path | None = None
    extra: tuple[str, ...] = ()
    shares: tuple[Share, ...] = ()
    limit_s: float = 120.0

    def command_line(self, machine: Machine) -> str:
        """Return the kernel's command line: the contract with the guest, then the caller's words."""
        board = machine.board
        words = [f"{CONSOLE_WORD}{board.console}", PANIC_APPEND]
        if board.clock and self.accel is Accel.TCG and not self.icount:
            words.append(board.clock)
        for word, line, wanted in zip(
            (CHANNEL_WORD, AGENT_WORD), board.lines, (True, self.agent), strict=False
        ):
            words += [f"{word}{line}"] if wanted else []
        words += [QUIET_APPEND] if self.quiet else []
        words += [] if self.shell else [NO_SHELL_APPEND]
        return " ".join([*words, *self.append.split(), *([POWEROFF_APPEND] if self.poweroff else [])])

    def why_in_turns(self, machine: Machine) -> str:
        """Say why the machine's CPUs have to share one thread; "" where they need not, or do so anyway (icount)."""
        alone = self.accel is not Accel.TCG or self.icount
        return "" if alone else why_in_turns(machine.board.arch, machine.cpus)

    def argv(self, machine: Machine, directory: Path) -> list[str]:
        """Return QEMU's command line, all but the serial lines and the monitor.

        directory: where the sockets of the programs beside it are.
        """
        if any(share.transport is Transport.VIRTIOFS for share in self.shares):
            machine = with_shared_memory(machine, machine.memory or self.memory)
        argv = machine_argv(
            machine,
            accel=self.accel.value,
            memory=self.memory,
            kernel=str(self.kernel),
            initrd=str(self.initrd),
            append=self.command_line(machine),
            icount=self.icount,
            in_turns=bool(self.why_in_turns(machine)),
        )
        tree = [] if self.dtb is None else ["-dtb", str(self.dtb)]
        return [*argv, *tree, *share_argv(self.shares, directory), *self.extra]
