"""hostbuild.errors: what a lost guest's error shows of its console."""

from hostbuild.errors import GuestError


def console(before: int, report: list[str], after: int) -> str:
    """A console with a report in it."""
    lines = [f"line {number}" for number in range(before)]
    return "\n".join([*lines, *report, *(f"[    9.{number}]  ? frame+0x1/0x2" for number in range(after))])


def test_the_last_lines() -> None:
    """Without a report, the last 25 lines that are not empty."""
    shown = str(GuestError("lost", console=console(100, ["", ""], 0))).splitlines()
    assert shown == ["lost; the console's last lines:", *(f"line {number}" for number in range(75, 100))]


def test_a_report_is_shown_from_its_beginning() -> None:
    """A panic's trace is longer than that: it is shown from the line that says what it is, as far as 100 lines go."""
    panic = "[    8.1] Kernel panic - not syncing: sysrq triggered crash"
    shown = str(GuestError("lost", console=console(50, [panic], 60))).splitlines()
    assert shown[1] == panic
    assert len(shown) == 62
    assert panic not in str(GuestError("lost", console=console(50, [panic], 100)))


def test_a_report_long_ago() -> None:
    """Nothing is cut from the last lines because of a report among them."""
    shown = str(
        GuestError("lost", console=console(50, ["[ 1.0] BUG: unable to handle page fault"], 3))
    ).splitlines()
    assert len(shown) == 26
