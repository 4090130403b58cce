"""core/loading/outcome.py: the words of modprobe and of the kernel, and which kind of failure they tell of."""

import json

import pytest

from modaliasd.core.kmod.plan import Denied
from modaliasd.core.ledger.answers.explain_not import ModuleFacts, Reason, why_not
from modaliasd.core.ledger.answers.fixes import FIXES
from modaliasd.core.ledger.history import history_of
from modaliasd.core.loading import outcome
from modaliasd.core.loading.demand import _KINDS
from modaliasd.core.loading.outcome import (
    FailureKind,
    LoadResult,
    Outcome,
    explain_failure,
    kernel_lines_about,
    lacking,
    lines_about,
)
from tests.support.ledgers import Maker, asked_by
from tests.support.schema import SCHEMA, check_records

NIC = "/devices/pci0000:00/0000:00:03.0"
K = FailureKind
EPERM = "modprobe: ERROR: could not insert 'nic': Operation not permitted"
# What Debian's kernel 6.1, kmod 30 and busybox 1.35 print: modprobe's words, the kernel's, what they mean.
SAID = [
    (
        "could not insert 'nic': Exec format error",
        "nic: version magic '5.10.0' should be '6.1.0'",
        K.WRONG_KERNEL,
    ),
    ("could not insert 'nic': Invalid argument", "nic: disagrees about version of symbol x", K.WRONG_KERNEL),
    ("can't load module nic (a/nic.ko): module has wrong symbol version", "", K.WRONG_KERNEL),
    (
        "can't load module nic (a/nic.ko): unknown symbol in module, or unknown parameter",
        "",
        K.UNKNOWN_SYMBOL,
    ),
    ("could not insert 'nic': Invalid argument", "nic: `x' invalid for parameter `debug'", K.BAD_PARAMETER),
    ("could not insert 'nic': Key was rejected by service", "", K.SIGNATURE),
    (
        EPERM,
        "Lockdown: modprobe: unsigned module loading is restricted; see man kernel_lockdown.7",
        K.LOCKDOWN,
    ),
    ("can't load module nic (a/nic.ko.xz): invalid module format", "", K.COMPRESSED),
    ("could not insert 'nic': Exec format error", "", K.BAD_FORMAT),
    ("could not insert 'nic': Cannot allocate memory", "", K.NO_MEMORY),
    ("", "Out of memory: Killed process 7 (modprobe)", K.NO_MEMORY),
    ("FATAL: Module nic not found in directory /lib/modules/6.1.0", "", K.NOT_IN_IMAGE),
    ("could not insert 'nic': Level 2 halted", "", K.UNKNOWN),
    (EPERM, "", K.NOT_PERMITTED),
]


@pytest.mark.parametrize(("words", "kernel", "kind"), SAID)
def test_words_become_a_kind(words: str, kernel: str, kind: FailureKind) -> None:
    """Each message of modprobe's or the kernel's is one kind of failure, and stands in the result's message."""
    result = explain_failure("nic", 1, words, kernel)
    assert (result.outcome, result.failure) == (Outcome.FAILED, kind)
    assert words in result.message
    assert kernel in result.message


def test_modules_disabled() -> None:
    """EPERM with the sysctl set means that no module is taken any more; the lockdown's own line goes before it."""
    result = explain_failure("nic", 1, EPERM, "", modules_disabled=True)
    assert result.failure is K.MODULES_DISABLED
    assert "until it is booted again" in result.message


def test_the_kernels_own_blacklist() -> None:
    """What module_blacklist= names is denied, by whatever way modprobe came to it."""
    result = explain_failure("nic", 1, EPERM, "Module nic is blacklisted")
    assert (result.outcome, result.failure) == (Outcome.DENIED, K.MODULE_BLACKLIST)
    assert result.message.endswith(f"forbids it (Module nic is blacklisted; {EPERM})")
    other = explain_failure("nic", 1, EPERM, "Module nice is blacklisted")
    assert other.outcome is Outcome.FAILED


def test_a_signal_is_a_kind_and_no_device_is_none() -> None:
    """modprobe killed is a failure of its own kind; ENODEV is no failure."""
    assert explain_failure("nic", -9, "", "").failure is K.KILLED
    none = explain_failure("nic", 1, "could not insert 'nic': No such device", "")
    assert (none.outcome, none.failure) == (Outcome.NODEVICE, None)


def test_lockdowns_line_names_no_module() -> None:
    """It counts for a modprobe that was not permitted, and for no other."""
    line = "Lockdown: modprobe: unsigned module loading is restricted; see man kernel_lockdown.7"
    assert kernel_lines_about("nic", 1, ["x", line, "y"], EPERM) == line
    assert kernel_lines_about("nic", 1, [line], "could not insert 'nic': Invalid argument") == ""


def test_every_kind_is_in_the_schema() -> None:
    """docs/ledger.schema.json lists the kinds, and docs/ledger.md explains each."""
    schema = json.loads(SCHEMA.read_text())
    kinds = {kind.value for kind in FailureKind}
    assert set(schema["$defs"]["load"]["properties"]["failure"]["enum"]) == kinds
    text = SCHEMA.with_name("ledger.md").read_text(encoding="utf-8")
    assert all(f"`{kind}`" in text for kind in kinds)
    assert set(_KINDS) == set(Denied)


def one_failure(kind: str, outcome: str = "failed") -> Maker:
    """The ledger of a boot whose only module failed; kind "": as earlier versions wrote it."""
    maker = Maker()
    maker.device(NIC, subsystem="pci", modalias="pci:v1", matches=[("pci:*", "nic")])
    extra = {"failure": kind} if kind else {}
    maker.load("nic", asked_by(NIC, "pci:v1", "pci:*"), outcome=outcome, message="words", **extra)
    check_records(maker.records)
    return maker


@pytest.mark.parametrize("kind", list(FailureKind))
def test_an_answer_goes_by_the_kind(kind: FailureKind) -> None:
    """Whatever the words are, the kind alone decides what is said to fix it."""
    answer = why_not(history_of(one_failure(kind.value).records), "nic", ModuleFacts())
    if kind is K.NOT_IN_IMAGE:
        assert (answer.reason, "make-image" in answer.fix) == (Reason.MISSING, True)
    else:
        assert answer.reason is Reason.FAILED
        blacklisted = {K.MODULE_BLACKLIST: "take nic out of module_blacklist= on the kernel's command line"}
        assert answer.fix == (FIXES | blacklisted).get(kind, "dmesg | grep -i nic")


def test_ledgers_without_the_field_say_unknown() -> None:
    """An earlier version's ledger is read: the kind is unknown, the words are shown."""
    history = history_of(one_failure("").records)
    assert [load.failure for load in history.loads] == [K.UNKNOWN]
    answer = why_not(history, "nic", ModuleFacts())
    assert (answer.reason, answer.details[-1]) == (Reason.FAILED, "words")


def test_a_kind_of_a_later_version_is_unknown() -> None:
    """A reader does not stumble over a word that it does not know."""
    maker = one_failure("")
    maker.records[-1]["failure"] = "eaten_by_a_gnu"
    assert history_of(maker.records).loads[0].failure is K.UNKNOWN


def test_the_fix_is_that_of_the_module_that_failed_first() -> None:
    """nic needs mid, mid needs base, base is for another kernel: the answer for nic is a new image for this kernel."""
    assert lacking("base", LoadResult(Outcome.FAILED, "why", K.SIGNATURE)) == LoadResult(
        Outcome.FAILED, "it needs base, which is failed: why", K.DEPENDENCY, "base"
    )
    maker = Maker()
    for module, kind, by in (
        ("base", "wrong_kernel", ""),
        ("mid", "dependency", "base"),
        ("nic", "dependency", "mid"),
    ):
        maker.load(module, {"request": "somebody"}, outcome="failed", failure=kind, blocked_by=by)
    answer = why_not(history_of(maker.records), "nic", ModuleFacts())
    assert answer.fix == FIXES[K.WRONG_KERNEL]


@pytest.mark.parametrize(("needle", "kind", "meaning"), outcome._MEANINGS)
def test_every_word_that_is_known_is_heard(needle: str, kind: FailureKind, meaning: str) -> None:
    """Each needle alone, in what modprobe says and in what the kernel says, is its kind; its meaning goes first."""
    for words, kernel in ((f"modprobe: {needle} x", ""), ("", f"nic: {needle} x"), ("one", f"nic: {needle}")):
        result = explain_failure("nic", 1, words, kernel)
        assert result.failure is kind
        said = "; ".join(part for part in (kernel, words) if part)
        assert result.message == f"{meaning} ({said})"


def test_what_is_not_known_is_told_as_it_was_said() -> None:
    """The kernel's words before modprobe's; without any, the status or the signal."""
    assert explain_failure("nic", 1, "two", "one").message == "one; two"
    assert explain_failure("nic", -9, "two", "").message == "modprobe was ended by signal 9 (two)"
    assert explain_failure("nic", -9, "", "").message == "modprobe was ended by signal 9"
    silent = explain_failure("nic", 3, "", "")
    assert silent.message == "modprobe ended with status 3 and said nothing; nic is not live"
    assert silent.failure is FailureKind.UNKNOWN


def test_lines_are_of_the_module_in_either_spelling() -> None:
    """Dashes or underscores; each line stripped, of several all."""
    text = "  a-b: one \nother: two\na_b: three\n"
    assert lines_about("a_b", text) == "a-b: one; a_b: three"
    assert kernel_lines_about("a_b", 7, text.splitlines(), "") == "a-b: one; a_b: three"
    killed = ["Out of memory: Killed process 77 (x)", "Out of memory: Killed process 7 (modprobe)", "a_b: x"]
    assert kernel_lines_about("a_b", 7, killed, "") == killed[1]
    assert kernel_lines_about("nic", 7, ["Invalid ELF header magic: != ELF"], "Exec format error").startswith(
        "Inv"
    )
    assert kernel_lines_about("nic", 7, [], "Exec format error") == ""
