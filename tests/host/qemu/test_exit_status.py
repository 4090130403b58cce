"""hostbuild.qemu.exit_status: what a guest's records say of its end, its faults and its clock."""

from dataclasses import replace
from typing import Any

import pytest

from hostbuild.errors import GuestError, GuestTimeoutError
from hostbuild.qemu.exit_status import Ending, clock_rate, complaints, exit_status, judge


def test_complaints_name_places() -> None:
    """The warnings that a failing status stems from are told with file and line; others are not."""
    ledger: list[dict[str, Any]] = [
        {"type": "warning", "t_us": 1, "what": "policy", "path": "/etc/p.toml", "line": 3, "message": "bad"},
        {"type": "warning", "t_us": 1, "what": "firmware", "message": "regulatory.db"},
        {
            "type": "warning",
            "t_us": 1,
            "what": "settled.d",
            "path": "/etc/settled.d/a",
            "message": "it ended",
        },
        {"type": "warning", "t_us": 1, "what": "modules", "message": "none"},
        {"type": "warning"},
    ]
    assert complaints(ledger) == ["/etc/p.toml:3: bad", "/etc/settled.d/a: it ended", "none"]


def life(guest_s: float, host_s: float) -> float | None:
    """The rate of a clock by which a life took `guest_s`, and by ours `host_s`."""
    ledger: list[dict[str, Any]] = [
        {"type": "device", "t_us": 0},  # sent when the daemon sleeps, and so no measure
        {"type": "start", "t_us": 2_000_000},
        {"type": "settled", "t_us": 2_000_000 + int(guest_s * 500_000)},
        {"type": "exit", "t_us": 2_000_000 + int(guest_s * 1_000_000), "status": 0},
    ]
    return clock_rate(ledger, [50.0, 100.0, 100.0 + host_s / 2, 100.0 + host_s])


@pytest.mark.parametrize(
    ("guest_s", "host_s", "rate"),
    [
        (126.0, 2.0, 63.0),  # a TSC of 2.6 GHz that was taken for one of 41 MHz
        (3.0, 30.0, 0.1),
        (2.0, 2.0, None),
        (2.0, 3.9, None),  # a busy host hears of the end late
        (60.0, 70.0, None),
        (0.0, 0.0, None),
        (-5.0, 5.0, None),  # another life's
    ],
)
def test_a_clock_that_ran_wild_is_noticed(guest_s: float, host_s: float, rate: float | None) -> None:
    """A rate far from 1 is told; what a busy host explains is not."""
    assert life(guest_s, host_s) == pytest.approx(rate)


def test_a_clock_without_records() -> None:
    """Without records, or times in them, nothing is said of the clock."""
    assert clock_rate([], []) is None
    assert clock_rate([{"type": "start"}, {"type": "exit", "t_us": 5, "status": 0}], [1.0, 9.0]) is None
    assert clock_rate([{"type": "start", "t_us": 1}, {"type": "exit", "t_us": 10**400}], [1.0, 9.0]) is None


def test_complaints_cannot_steer_a_terminal() -> None:
    """What a guest writes comes to the terminal without escape sequences, on one line, and can be encoded."""
    warning = {"type": "warning", "what": "policy", "message": "a\x1b[2Jb\nc\udcff\x07"}
    assert complaints([warning]) == ["ab c\\udcff"]


@pytest.mark.parametrize("status", [256, -1, "0", None, 1.0, [0]])
def test_a_status_that_none_can_be_is_not_one(status: object) -> None:
    """A process cannot end with 256: the shell would see 0."""
    assert exit_status([{"type": "exit", "status": status}]) is None
    assert exit_status([{"type": "exit", "status": status}, {"type": "exit", "status": 255}]) == 255


PANIC = "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\n"
RESTART = "reboot: Restarting system\n"


def ending(
    console: str = "", reason: str = "", *, status: int | None = None, over_limit_s: float | None = None
) -> Ending:
    """An end of a machine; `status`: what the guest said of itself."""
    ledger = [] if status is None else [{"type": "exit", "status": status}]
    return Ending(console, ledger, reason, over_limit_s, "status 1")


def test_what_the_guest_says_of_itself_comes_first() -> None:
    """Whatever the console has, and however QEMU ended; without a word, a guest that switched itself off did well."""
    assert judge(ending(PANIC, "guest-reset", status=7)) == 7
    assert judge(ending(over_limit_s=5, status=0)) == 0
    assert judge(ending(reason="guest-shutdown")) == 0
    assert judge(ending(RESTART, "guest-reset")) == 0


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (ending(PANIC, "guest-reset"), "the guest's first process, /init, ended"),
        (ending(PANIC, over_limit_s=5), "the guest's first process, /init, ended"),
        (ending("", "guest-reset"), "the guest reset itself without saying why"),
        (ending("", ""), "QEMU ended under the guest: status 1"),
    ],
)
def test_a_lost_guest_is_112(end: Ending, message: str) -> None:
    """A panic, a reset without a word, a QEMU that is gone: each says what it was."""
    with pytest.raises(GuestError, match=message) as caught:
        judge(end)
    assert caught.value.exit_status == 112


def test_a_guest_that_had_to_be_ended_is_124() -> None:
    """The time limit is named, with more time as the fix, or what the console has to say."""
    with pytest.raises(GuestTimeoutError, match="still running after 5 s") as caught:
        judge(ending(over_limit_s=5))
    assert (caught.value.exit_status, caught.value.hint) == (124, "give it more time (--timeout)")
    console = "Initramfs unpacking failed: write error\n"
    with pytest.raises(GuestTimeoutError, match="5 s and was ended: the image is too large"):
        judge(ending(console, over_limit_s=5))


def test_a_lost_root_file_system_is_111() -> None:
    """A guest that was switched off by hand after it lost its root has not done what it was booted for; told, too."""
    lost = {"type": "root", "t_us": 1, "outcome": "lost", "message": "No disk has come.", "fix": "attach it"}
    end = Ending(console="", ledger=[lost], reason="guest-shutdown", over_limit_s=None, last_words="")
    assert judge(end) == 111
    assert complaints([lost]) == ["the root file system is not there: No disk has come. fix: attach it"]
    found = lost | {"outcome": "mounted"}
    assert judge(replace(end, ledger=[lost, found])) == 0
    assert judge(replace(end, ledger=[lost, {"type": "exit", "t_us": 2, "status": 3}])) == 3
