"""benchmarks/power_on.py: when disk, card and init came, by a console's lines."""

from math import isnan

import pytest

from benchmarks.power_on import read_times

# In the form of kprobe events that tp_printk sends to the log (Documentation/trace/kprobetrace.rst).
CONSOLE = """\
[    0.480112] nic: (register_netdevice+0x0/0x6e0) name="lo"
[    1.970034] disk: (device_add_disk+0x0/0x420) name="vda"
[    2.010420] nic: (register_netdevice+0x0/0x6e0) name="eth%d"
[    2.055555] disk: (device_add_disk+0x0/0x420) name="sda"
[    3.286001] bench: settled
"""
LEDGER = (
    b'{"type":"start","t_us":1815003}\n{"type":"settled","t_us":3240500}\n{"type":"settled","t_us":9000000}\n'
)


def test_the_first_of_each_counts() -> None:
    """Loopback is no card; what did not come is no number; without a ledger the console says when it had settled."""
    times = read_times(CONSOLE, b"")
    assert (times.disk, times.nic, times.settled) == pytest.approx((1970.034, 2010.42, 3286.001))
    assert isnan(times.init)


def test_our_images_say_when_they_have_settled() -> None:
    """By the ledger's first word of it."""
    assert read_times(CONSOLE + "[    4.1] bench: init\n", LEDGER).settled == 3240.5
    assert read_times("[    4.1] bench: init\n", LEDGER).init == 4100


def test_an_images_own_words_may_stand_before_a_line() -> None:
    """A shell's message without a newline, and the kernel's behind it, as initramfs-tools leaves them."""
    console = "Begin: Running /scripts/init-premount ... [    5.076437] bench: settled\n"
    assert read_times(console, b"").settled == pytest.approx(5076.437)
