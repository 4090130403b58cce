"""hostbuild.qemu.exit_status: what a guest's records say of its end, its faults and its clock."""

from typing import Any

import pytest

from hostbuild.qemu.exit_status import clock_rate, complaints, exit_status


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
