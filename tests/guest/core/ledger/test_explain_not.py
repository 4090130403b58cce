"""why-not: every state that a module can be in has one answer, which agrees with itself and with what is there."""

from itertools import product
from pathlib import Path

import pytest

from modaliasd.cli import main
from modaliasd.commands.modulefacts import read_facts
from modaliasd.core.ledger.answers.explain import why_module
from modaliasd.core.ledger.answers.explain_not import ModuleFacts, Reason, WhyNot, why_not
from modaliasd.core.ledger.history import History, history_of
from tests.support.ledgers import Q35, Maker, asked_by, small_boot

CARD = "/devices/pci0000:00/0000:00:03.0"
MODALIAS = "pci:v1d1"
TREE = "/lib/modules/6.1.0-test"
LOADED = {Reason.AT_WORK, Reason.SERVES, Reason.UNBOUND, Reason.WAITING}


def boot(*, matched: bool = True) -> Maker:
    """A card whose modalias matches the module `nic`, or, as far as the daemon knows, nothing."""
    maker = Maker()
    matches = [("pci:v1*", "nic")] if matched else []
    maker.device(CARD, subsystem="pci", modalias=MODALIAS, matches=matches)
    return maker


def ledger_of(state: str) -> History:
    """A ledger in which the module `nic` is in that state."""
    maker = boot(matched=state not in {"stranger", "came"})
    cause = asked_by(CARD, MODALIAS, "pci:v1*")
    match state:
        case "inserted" | "removed" | "again" | "respawned" | "bound":
            maker.load("nic", cause)
        case "denied" | "denied, then by hand":
            maker.load(
                "nic", cause, outcome="denied", message="blacklisted in /etc/modprobe.d/x.conf, line 1"
            )
        case "failed" | "nodevice" | "command" | "builtin":
            maker.load("nic", cause, outcome=state, message="so it was")
        case "absent":
            words = "it is not in this image (modprobe: not found)"
            maker.load("nic", cause, outcome="failed", message=words, failure="not_in_image")
        case "gone":
            maker.device(CARD, "remove", subsystem="pci")
    if state in {"removed", "again"}:
        maker.add("module", action="remove", module="nic")
    if state in {"denied, then by hand", "again", "came"}:
        maker.add("module", action="add", module="nic")
    if state == "bound":
        maker.device(CARD, "bind", subsystem="pci", driver="nic", module="nic")
    if state == "respawned":
        maker.add("start", format=1, version="0.1.0", kernel="6.1.0-test", pid=99, respawn=1)
        maker.device(CARD, subsystem="pci", modalias=MODALIAS, matches=[("pci:v1*", "nic")])
        maker.load("nic", cause, outcome="live")
    return history_of(maker.records)


ANSWERS = {
    "stranger": Reason.NO_DEVICE,
    "came": Reason.UNBOUND,
    "matched": Reason.PENDING,
    "gone": Reason.NO_DEVICE,
    "inserted": Reason.UNBOUND,
    "bound": Reason.AT_WORK,
    "respawned": Reason.UNBOUND,
    "removed": Reason.REMOVED,
    "again": Reason.UNBOUND,
    "denied": Reason.DENIED,
    "denied, then by hand": Reason.UNBOUND,
    "failed": Reason.FAILED,
    "nodevice": Reason.LEFT,
    "absent": Reason.MISSING,
    "command": Reason.REPLACED,
    "builtin": Reason.BUILTIN,
}


@pytest.mark.parametrize("state", ANSWERS)
def test_each_state_of_the_ledger_has_its_answer(state: str) -> None:
    """By the ledger alone, as on another machine."""
    assert why_not(ledger_of(state), "nic", ModuleFacts()).reason is ANSWERS[state]


FACTS = [
    ModuleFacts(
        tree=tree, in_tree=in_tree, in_kernel=in_kernel, aliases=aliases, stands_for=stands_for, live=live
    )
    for tree, in_tree, in_kernel, aliases, stands_for, live in product(
        ("", TREE),
        (None, True, False),
        (None, True, False),
        ((), ("pci:v1*",)),
        ((), ("dog",)),
        (None, True, False),
    )
    if (tree or in_tree is in_kernel is live is None) and not (in_tree and in_kernel is False)
    if tree or not (aliases or stands_for)
]


def contradictions(answer: WhyNot, facts: ModuleFacts) -> list[str]:
    """What in the answer cannot be true beside the facts, or beside the rest of it."""
    text = " ".join((*answer.details, answer.fix))
    found = {
        "loaded, and not in the kernel": answer.reason in LOADED and facts.live is False,
        "in the kernel, and not loaded": answer.reason not in {*LOADED, Reason.BUILTIN}
        and facts.live is True,
        "asks for what was given": "--modules-dir" in text and bool(facts.tree),
        "brings what is there": "make-image" in answer.fix and facts.in_tree is True and "ledger" not in text,
        "loads what is not there": "modaliasd load" in answer.fix and facts.in_tree is False,
        "loading, and not asked for": answer.reason is Reason.PENDING and "not asked" in text,
        "unknown, and known": answer.reason is Reason.UNKNOWN
        and (facts.in_tree or facts.in_kernel is not False),
        "no device, and a device": answer.reason is Reason.NO_DEVICE and f"{CARD} would" in text,
        "nothing is said": not answer.details,
    }
    return [name for name, is_so in found.items() if is_so]


@pytest.mark.parametrize("state", [state for state in ANSWERS if state != "absent"])
def test_no_answer_contradicts_itself_or_the_facts(state: str) -> None:
    """Every state of the ledger with every combination of what the machine and its module tree can say."""
    history = ledger_of(state)
    assert len(FACTS) > 60
    for facts in FACTS:
        answer = why_not(history, "nic", facts)
        assert contradictions(answer, facts) == [], (answer, facts)


def test_a_device_that_the_daemon_never_asked_for() -> None:
    """The module is there and a device is for it: that is no load that has not ended."""
    history = ledger_of("stranger")
    answer = why_not(
        history, "nic", ModuleFacts(tree=TREE, in_tree=True, in_kernel=True, aliases=("pci:v1*",))
    )
    assert answer.reason is Reason.NOT_ASKED
    assert CARD in answer.details[0]
    assert "coldplug" in answer.fix


def test_a_builtin_match_is_no_load_that_has_not_ended() -> None:
    """The ledger alone tells that a module is part of the kernel: its match says so."""
    maker = Maker()
    maker.device("/devices/x", subsystem="platform", modalias="platform:x")
    maker.records[-1]["matches"] = [{"alias": "platform:x", "line": 0, "module": "x_driver", "builtin": True}]
    assert why_not(history_of(maker.records), "x-driver", ModuleFacts()).reason is Reason.BUILTIN


def test_a_module_in_the_kernel_that_the_ledger_does_not_know() -> None:
    """What /proc/modules has is loaded, whatever the ledger says."""
    answer = why_not(ledger_of("stranger"), "nic", ModuleFacts(tree=TREE, in_tree=True, live=True))
    assert answer.reason is Reason.UNBOUND
    assert "/proc/modules has it" in answer.details[0]


def test_who_inserted_a_module_is_not_forgotten_when_the_daemon_starts_again() -> None:
    """A daemon that finds a module `live` does not hide that the one before it had it inserted, and for whom."""
    why = why_module(ledger_of("respawned"), "nic")
    assert why is not None
    assert why.load is not None
    assert why.load.outcome == "inserted"


def write_tree(directory: Path, *, with_dep: bool = True) -> Path:
    """A kernel's directory: nic is in the image, tg3 and nls_iso8859-1 are only the kernel's."""
    directory.mkdir()
    kernel = "kernel/drivers/net/nic.ko\nkernel/drivers/net/tg3.ko\nkernel/fs/nls/nls_iso8859-1.ko\n"
    (directory / "modules.order").write_text(kernel)
    (directory / "modules.builtin").write_text("kernel/drivers/block/loop.ko\n")
    if with_dep:
        (directory / "modules.dep").write_text("kernel/drivers/net/nic.ko:\n")
        (directory / "modules.alias").write_text("alias pci:v1* nic\nalias fs-nic nic\nalias * all\n")
    return directory


def test_names_with_both_dashes_and_underscores_are_found(tmp_path: Path) -> None:
    """nls_iso8859-1.ko is the module nls_iso8859_1, whichever way it is asked for."""
    tree = str(write_tree(tmp_path / "6.1.0-test"))
    for spelling in ("nls_iso8859-1", "nls_iso8859_1", "nls-iso8859-1"):
        assert read_facts(spelling, tree, "/sys", []).in_kernel is True


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command says, on either stream."""
    main(["why-not", *arguments])
    captured = capsys.readouterr()
    return captured.out + captured.err


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("tg3", "it is not in this image"),
        ("nic", "no device here asks for it"),
        ("drivers/net/nic.ko", "nic: no device here asks for it"),
        ("fs-nic", "it is an alias, not a module\n  It stands for nic.\n  fix: modaliasd why-not nic"),
        ("tg", "this kernel has no such module"),
        ("tg33", "Similar names: tg3."),
        ("loop", "it is part of the kernel"),
        (
            "/dev/vda",
            "`modaliasd why-not` takes a module, and /dev/vda is a device; try `modaliasd why /dev/vda`",
        ),
    ],
)
def test_words_of_every_kind(
    word: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the image, in the kernel only, an alias, misspelt, built in, a device: each is told what it is."""
    tree = write_tree(tmp_path / "6.1.0-56-amd64")
    said = ask(capsys, word, "--ledger", str(Q35), "--modules-dir", str(tree))
    assert expected in said
    assert "--modules-dir" not in said
    assert "they may differ" not in said


def test_a_tree_without_modules_dep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A kernel package that depmod has not seen: that is said, and not to give --modules-dir, which was given."""
    tree = write_tree(tmp_path / "6.1.0-56-amd64", with_dep=False)
    said = ask(capsys, "tg3", "--ledger", str(Q35), "--modules-dir", str(tree))
    assert f"{tree} has no modules.dep" in said
    assert "--modules-dir" not in said
    assert "--modules-dir" in ask(capsys, "tg3", "--ledger", str(Q35))


@pytest.mark.parametrize("where", ["none", "."])
def test_a_directory_that_is_no_module_tree_is_refused(
    where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Missing, or something else: the caller's mistake, and named."""
    directory = tmp_path / where
    assert main(["why-not", "tg3", "--ledger", str(Q35), "--modules-dir", str(directory)]) == 100
    assert f"--modules-dir {directory}: no modules.dep is there" in capsys.readouterr().err


def test_a_ledger_of_another_kernel_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The ledger names its kernel, the module tree's directory another: the answer says that it may not hold."""
    tree = write_tree(tmp_path / "6.12.1-arm64")
    said = ask(capsys, "nic", "--ledger", str(Q35), "--modules-dir", str(tree))
    assert "The ledger is of kernel 6.1.0-56-amd64" in said
    assert f"{tree} seems to be of kernel 6.12.1-arm64" in said


def test_a_gone_device_is_not_driven() -> None:
    """A module whose only device was pulled drives nothing, though no `unbind` told of it."""
    maker = small_boot()
    maker.device(CARD, "remove", subsystem="pci")
    assert why_not(history_of(maker.records), "nic", ModuleFacts()).reason is Reason.UNBOUND
