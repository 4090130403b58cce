"""core/settings.py: the `modaliasd.*` words of the kernel's command line, and what becomes of those that are wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modaliasd.core.errors import Problem
from modaliasd.core.kmod.modprobe_d import topic_of
from modaliasd.core.settings import KERNEL_COMMAND_LINE, WORDS, Settings, next_args, parse_settings
from tests.support.places import DOCS


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("quiet root=/dev/vda", Settings()),
        ("modaliasd.off", Settings(off=True)),
        ("modaliasd.off=1 modaliasd.log=ledger", Settings(off=True, kernel_log=False)),
        ("modaliasd.off=0 modaliasd.log=kernel", Settings()),
        ("modaliasd.jobs=3 modaliasd.rcvbuf=4096", Settings(jobs=3, receive_buffer=4096)),
        ("modaliasd.first=a-b,c modaliasd.last=d,,e", Settings(first=("a_b", "c"), last=("d", "e"))),
        ("modaliasd.sequential=f-g", Settings(sequential=("f_g",))),
        ("modaliasd.load=a-b,c modaliasd.load=pci:v1d2", Settings(load=("a-b", "c", "pci:v1d2"))),
        ("modaliasd.load=a modaliasd.load=a", Settings(load=("a", "a"))),
        ("modaliasd.ledger=512K", Settings(ledger_limit=512 << 10)),
        ("modaliasd.ledger=2047m", Settings(ledger_limit=2047 << 20)),
        ("modaliasd.ledger=65536", Settings(ledger_limit=65536)),
        ("modaliasd.channel=/dev/ttyS1", Settings(channel="/dev/ttyS1")),
        ("modaliasd.channel=", Settings()),
        ("modaliasd.poweroff=settled", Settings(poweroff=True)),
        ('modaliasd.load="platform:a b,c"', Settings(load=("platform:a b", "c"))),
        ('"modaliasd.load=platform:a b,c"', Settings(load=("platform:a b", "c"))),
        ("xmodaliasd.off modaliasd modaliasd=off", Settings()),
        ("modaliasd.jobs=2\tmodaliasd.jobs=2\n", Settings(jobs=2)),
    ],
)
def test_words_become_settings(line: str, expected: Settings) -> None:
    """Each word has its typed value; nothing is wrong with any of these lines."""
    assert parse_settings(line) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("modaliasd.jobs=abc", "`modaliasd.jobs=abc` is ignored: expected a number from 1 to 32768"),
        ("modaliasd.jobs=0", "`modaliasd.jobs=0` is ignored: expected a number from 1 to 32768"),
        ("modaliasd.jobs=²", "`modaliasd.jobs=²` is ignored: expected a number from 1 to 32768"),
        ("modaliasd.jobs=-1", "`modaliasd.jobs=-1` is ignored: expected a number from 1 to 32768"),
        ("modaliasd.jobs", "`modaliasd.jobs` is ignored: expected a number from 1 to 32768"),
        (
            "modaliasd.rcvbuf=2147483648",
            "`modaliasd.rcvbuf=2147483648` is ignored: expected a number from 1 to 2147483647",
        ),
        *(
            (
                f"modaliasd.ledger={size}",
                f"`modaliasd.ledger={size}` is ignored: expected a size from 64K to 2047M, such as 512K or 16M",
            )
            for size in ("63K", "2048M", "1G", "M", "1KK", "-1M", "1.5M", "")
        ),
        ("modaliasd.log=serial", "`modaliasd.log=serial` is ignored: expected ledger or kernel"),
        ("modaliasd.off=perhaps", "`modaliasd.off=perhaps` is ignored: expected no value, or 1 or 0"),
        ("modaliasd.load", "`modaliasd.load` is ignored: expected names, separated by commas"),
        (
            "modaliasd.channel=ttyS1",
            "`modaliasd.channel=ttyS1` is ignored: expected the path of a device, such as /dev/ttyS1",
        ),
        ("modaliasd.poweroff=now", "`modaliasd.poweroff=now` is ignored: expected settled"),
        (
            "modaliasd.jbos=4",
            "`modaliasd.jbos=4` is ignored: there is no such setting; did you mean `modaliasd.jobs`?",
        ),
        (
            "modaliasd.x.y=4",
            "`modaliasd.x.y=4` is ignored: there is no such setting; known: off, load, first, last, sequential, jobs, "
            "log, channel, ledger, rcvbuf, poweroff, root, debug",
        ),
    ],
)
def test_what_cannot_be_used_is_a_problem_and_leaves_the_default(line: str, message: str) -> None:
    """A wrong value or an unknown word changes no setting, and the problem says what was expected."""
    assert parse_settings(f"quiet {line} ro") == Settings(
        problems=(Problem(KERNEL_COMMAND_LINE, 0, message),)
    )


def test_the_last_of_two_values_counts_and_is_told() -> None:
    """Two different values for one setting: the kernel's way, with a problem that says which one counts."""
    settings = parse_settings("modaliasd.jobs=2 modaliasd.first=a modaliasd.jobs=4")
    assert (settings.jobs, settings.first) == (4, ("a",))
    (problem,) = settings.problems
    assert topic_of(problem) == "command line"
    assert (
        problem.message == "`modaliasd.jobs` is given more than once; the last one counts: `modaliasd.jobs=4`"
    )


@pytest.mark.parametrize(
    ("line", "args"),
    [
        ("a b=1", [("a", None), ("b", "1")]),
        ('a="b c"', [("a", "b c")]),
        ('"a=b c"', [("a", "b c")]),
        ('"a b"', [("a b", None)]),
        ('a="b c', [("a", "b c")]),
        ('a=b" "c', [("a", 'b" "c')]),
        ('a="', [("a", "")]),
        ("=a=b", [("=a", "b")]),
        ("a==b", [("a", "=b")]),
        ("a\x1cb a\u2003b", [("a\x1cb", None), ("a\u2003b", None)]),
        ("", []),
    ],
)
def test_words_end_as_the_kernel_has_it(line: str, args: list[tuple[str, str | None]]) -> None:
    """lib/cmdline.c, next_arg: worked out by hand from its source for each line."""
    assert next_args(line) == args


@given(st.text(alphabet='modaliasd.jobsfchneloadrcvf=,"- \t0123456789²/', max_size=80))
def test_no_command_line_stops_the_daemon(text: str) -> None:
    """Whatever stands on the command line, there are settings, each of its type and in its range."""
    settings = parse_settings(f"modaliasd.{text} modaliasd.jobs={text}")
    assert isinstance(settings.off, bool)
    assert 0 <= settings.jobs <= 32768


def test_the_docs_have_the_table() -> None:
    """docs/settings.md has a row for each word, with the code's own wording, and no other."""
    text = (DOCS / "settings.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `modaliasd.")]
    assert rows == [f"| `modaliasd.{word.shown}` | {word.meaning} | {word.default} |" for word in WORDS]


def test_every_field_has_a_word() -> None:
    """No setting is out of reach, and none has two words."""
    assert sorted(word.field for word in WORDS) == sorted(set(Settings._fields) - {"problems"})


@pytest.mark.parametrize(
    ("line", "stays", "problems"),
    [
        ("modaliasd.root=stay", True, 0),
        ("modaliasd.root=end", False, 0),
        ("modaliasd.root=maybe", False, 1),
        ("modaliasd.root", False, 1),
    ],
)
def test_what_becomes_of_the_daemon_with_the_root(line: str, *, stays: bool, problems: int) -> None:
    """It stays or ends; any other word is a problem that names what was expected, and changes nothing."""
    settings = parse_settings(line)
    assert settings.root_stays is stays
    assert [("expected end or stay" in one.message) for one in settings.problems] == [True] * problems
