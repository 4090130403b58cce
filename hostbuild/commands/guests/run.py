"""hostbuild run: boots an image in QEMU, for its console or a command; brings back its exit status and its ledger."""

import click

from hostbuild.commands import _options
from hostbuild.commands.guests import _running
from hostbuild.live.options import GuestOptions

_EPILOG = """On a terminal the console is yours; Ctrl-A x ends the machine, Ctrl-A h helps. The kernel's log is left
out until the guest has settled; --verbose shows it, and a boot that fails shows its end.

With -- COMMAND it is run once the guest has settled: its output is here, its standard input is ours unless that is a
terminal, Ctrl-C and other signals go to it, and its exit status is ours. Without one, a script on standard input is
given to a shell in the guest.

\b
The exit status is the guest's own:
  0 to 255  the command's; 128 + N where signal N ended it; 127 where the
            guest does not have it, 126 where it cannot run it
            without a command: what `modaliasd poweroff STATUS` said, or 0
With --exit-when-settled it is the first of these that is not 0:
  111       the image has no modules for the kernel
  100       the policy has a mistake, and so denies everything
  STATUS    of the first program of /etc/settled.d that failed
            126: it is not executable
Otherwise:
  100, 111  the command line or what it names, or this machine, is at fault
  112       the guest panicked, vanished, or ended before it said a status
  124       it was still running, or hung, at the time limit
  130, 143  interrupted by Ctrl-C, ended by SIGTERM

\b
Examples:
  hostbuild run micro.img
  hostbuild run micro.img -- modaliasd tree
  hostbuild run micro.img --share . -- sh -c 'insmod ./my.ko && dmesg | tail'
  hostbuild run micro.img --exit-when-settled --ledger-out boot.jsonl
  hostbuild run micro.img --device e1000 --device usb-storage,file=disk.img
  hostbuild run micro.img --detach box     # then: hostbuild exec box -- lsmod
  hostbuild run micro.img --watch --name box  # then: hostbuild plug box e1000
  hostbuild run --list-devices
"""


@click.command("run", epilog=_EPILOG)
@_options.guest
@_options.list_devices
@_running.wish
def command(guest: GuestOptions, wish: _running.Wish) -> int:
    """Boot IMAGE in QEMU, with its console here or for COMMAND, and end with its exit status."""
    _running.check(wish, guest)
    return _running.live(guest, wish)
