"""core/policy/rules.py and its text: what is allowed, what can never get round a denial, and that it is TOML."""

import tomllib

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from modaliasd.core.device import Phase
from modaliasd.core.kmod.plan import Denied, Match, Plan, Stage, Step, Why
from modaliasd.core.policy.check import pointless
from modaliasd.core.policy.parse import TextError, parse_tables
from modaliasd.core.policy.rules import Facts, Policy, Ruling, apply, parse_policy

USB_KEYBOARD = Facts(
    Phase.HOTPLUG,
    "usb",
    "usb:v0627p0001d0000dc00dsc00dp00ic03isc01ip01in00",
    "/devices/pci0000:00/0000:00:1c.0/0000:01:00.0/usb1/1-2/1-2:1.0",
    "removable",
)
NO_KEYBOARDS = """# keyboards that are plugged in later are not wanted
[[rule]]
action = "deny"
phase = ["hotplug", "frozen"]
modalias = "usb:*ic03*"
"""


def judge(text: str, facts: Facts = USB_KEYBOARD, module: str = "usbhid") -> Ruling:
    policy = parse_policy(text, "policy.toml")
    assert not policy.mistakes
    return policy.judge(facts, module)


def test_a_rule_decides_where_it_holds_and_nowhere_else() -> None:
    """A plugged keyboard is denied by line; the same at the boot, and a mouse's mass storage, are not."""
    assert judge(NO_KEYBOARDS) == Ruling(False, 2)
    assert judge(NO_KEYBOARDS, USB_KEYBOARD._replace(phase=Phase.COLDPLUG)) == Ruling(True)
    assert judge(NO_KEYBOARDS, USB_KEYBOARD._replace(modalias="usb:v1p1d1ic08isc06ip50in00")) == Ruling(True)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ('phase = "hotplug"', True),
        ('phase = ["coldplug", "frozen"]', False),
        ('subsystem = "usb"', True),
        ('subsystem = "us"', False),
        ('subsystem = ["pci", "us?"]', True),
        ("modalias = 'usb:v0627p[0-9]*'", True),
        ('modalias = "*ic08*"', False),
        ('devpath = "/devices/pci0000:00/*/usb1/*"', True),
        ('devpath = "/devices/platform/*"', False),
        ("removable = true", True),
        ("removable = false", False),
        ('removable = "unknown"', False),
        ('port = "1-2"', True),
        ('port = "1-2*"', True),
        ('port = "0000:00:1c.0"', True),
        ('port = "1-3"', False),
        ('port = "usb1/1-2"', False),
        ('module = "usbhid"', True),
        ('module = ["usb_storage", "uas"]', False),
    ],
)
def test_conditions(condition: str, holds: bool) -> None:
    """Each condition holds for the whole text of what it names, one of several patterns is enough."""
    assert judge(f'[[rule]]\naction = "deny"\n{condition}\n').allow is not holds


@pytest.mark.parametrize(
    ("action", "modalias", "allowed"),
    [
        ("deny", "acpi:A:\nof:B", False),
        ("deny", "of:B\nacpi:A:", False),
        ("deny", "acpi:C:\nof:B", True),
        ("allow", "acpi:A:\nof:B", False),
        ("allow", "acpi:A:\nacpi:A:x", True),
    ],
)
def test_a_device_with_several_modaliases(action: str, modalias: str, allowed: bool) -> None:
    """Any of them is enough to be denied; to be allowed all have to be."""
    other = "deny" if action == "allow" else "allow"
    text = f'coldplug = "{other}"\n[[rule]]\naction = "{action}"\nmodalias = "acpi:A:*"\n'
    policy = parse_policy(text, "p")
    assert policy.mistakes == ()
    assert policy.judge(Facts(Phase.COLDPLUG, "acpi", modalias), "m").allow is allowed


def test_all_conditions_must_hold() -> None:
    """A rule with one condition that does not hold decides nothing."""
    text = '[[rule]]\naction="deny"\nsubsystem="usb"\nmodule="usbhid"\nremovable=false\n'
    assert judge(text) == Ruling(True)


def test_the_last_rule_that_matches_wins() -> None:
    """Deny all, allow USB, deny one port: each later rule narrows the earlier ones, and its line is told."""
    text = 'hotplug="deny"\n[[rule]]\naction="allow"\nsubsystem="usb"\n[[rule]]\naction="deny"\nport="1-2"\n'
    assert judge(text) == Ruling(False, 5)
    assert judge(text, USB_KEYBOARD._replace(devpath="/devices/usb1/1-3/1-3:1.0")) == Ruling(True, 2)
    assert judge(text, USB_KEYBOARD._replace(subsystem="pci", devpath="/devices/x")) == Ruling(False, 1)


def test_frozen_denies_by_default() -> None:
    """Without a word in the policy, coldplug and hotplug are allowed, and what comes after a freeze is not."""
    assert [Policy().judge(Facts(phase), "m").allow for phase in Phase] == [True, True, False]


@given(st.text(), st.text(), st.text(), st.text(), st.sampled_from([p.value for p in Phase]))
@example("usb:[", "usb", "/devices/[x", "us-bhid", "frozen")
@example("", "", "", "", "hotplug")
@example("*", "*", "*", "*", "coldplug")
def test_no_device_talks_itself_past_a_closed_policy(
    modalias: str, subsystem: str, devpath: str, module: str, phase: str
) -> None:
    """Whatever a device calls itself: what no allowing rule names is denied, wildcards in its own words or not."""
    text = 'coldplug="deny"\nhotplug="deny"\nfrozen="deny"\n[[rule]]\naction="allow"\nmodule="e1000"\nsubsystem="pci"\n'
    facts = Facts(Phase(phase), subsystem, modalias, devpath, subsystem)
    allowed = judge(text, facts, module).allow
    assert allowed == (module == "e1000" and subsystem == "pci")


@given(st.text(), st.text(), st.text())
def test_a_last_word_of_denial_is_final(modalias: str, subsystem: str, module: str) -> None:
    """A last rule without conditions denies everything, in every phase."""
    text = '[[rule]]\naction = "allow"\n[[rule]]\naction = "deny"\n'
    assert not any(judge(text, Facts(phase, subsystem, modalias), module).allow for phase in Phase)


def test_dashes_do_not_help() -> None:
    """A module or a modalias is denied with `-` and with `_`, as the kernel's tools take one for the other."""
    text = '[[rule]]\naction="deny"\nmodule="snd-hda_intel"\n[[rule]]\naction="deny"\nmodalias="of:N*Ca-b"\n'
    assert not judge(text, module="snd_hda-intel").allow
    assert not judge(text, Facts(Phase.COLDPLUG, modalias="of:NxTyCa_b"), "m").allow


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[[rule]\n", 1, "only table"),
        ("\n[rule]\n", 2, "only table"),
        ("action\n", 1, "KEY = VALUE"),
        ("[[rule]]\naction = deny\n", 2, "a string"),
        ('[[rule]]\naction = "deny\n', 2, "does not end"),
        ('[[rule]]\naction = "perhaps"\n', 2, "allow"),
        ('[[rule]]\nsubsystem = "usb"\n', 1, "no action"),
        ('[[rule]]\naction = "deny"\nsubsytem = "usb"\n', 3, "a rule's keys"),
        ('[[rule]]\naction = "deny"\naction = "allow"\n', 3, "already"),
        ('[[rule]]\naction = "deny"\nphase = "warm"\n', 3, "phase must be"),
        ('[[rule]]\naction = "deny"\nport = true\n', 3, "pattern"),
        ('[[rule]]\naction = "deny"\nmodalias = "usb:[*"\n', 3, "without its ]"),
        ('[[rule]]\naction = "deny"\nmodule = []\n', 3, "never applies"),
        ('[[rule]]\naction = "deny" module = "x"\n', 2, "after the string"),
        ('[[rule]]\naction = "deny"\nmodule = ["x" "y"]\n', 3, "commas"),
        ('default = "deny"\n', 1, "the file's keys"),
        ('hotplug = "maybe"\n', 1, "allow"),
        ('a.b = "x"\n', 1, "KEY = VALUE"),
        ('hotplug = """deny"""\n', 1, "multi-line strings"),
        ('hotplug = "den\\u0079"\n', 1, "escape"),
        ('hotplug = "deny"\x00\n', 1, "control"),
    ],
)
def test_a_mistake_is_told_by_its_line_and_denies_everything(text: str, line: int, words: str) -> None:
    """No part of a policy with a mistake counts: an allowing rule beside it does not either."""
    policy = parse_policy(f'{text}[[rule]]\naction = "allow"\n', "policy.toml")
    assert policy.mistakes[0].line == line
    assert words in policy.mistakes[0].message
    assert not any(policy.judge(Facts(phase, "usb"), "usbhid").allow for phase in Phase)


LINES = st.sampled_from(
    [
        "[[rule]]",
        "  [[rule]] # one",
        'action = "deny"',
        "action='allow' # yes",
        'modalias = "a\\"b\\\\c#"',
        "module = [ \"a\", 'b' , ]",
        "port=[]",
        "removable = true",
        "removable=false#no",
        "",
        "# comment = 1",
        "\t",
        'x = "ü"',
        'y = ["a" ]',
    ]
)


@given(st.lists(LINES | st.text(alphabet="[]rule=\"'#, \\taion-", max_size=12), max_size=8).map("\n".join))
def test_what_is_accepted_is_toml_and_means_the_same(text: str) -> None:
    """Python's TOML reader gives the same tables with the same values for every text that is read."""
    try:
        top, *rules = parse_tables(text)
    except TextError:
        assume(False)
    oracle = tomllib.loads(text)
    tables = oracle.pop("rule", [])

    def plain(entries: dict[str, tuple[object, int]]) -> dict[str, object]:
        return {k: list(v) if isinstance(v, tuple) else v for k, (v, _) in entries.items()}

    assert plain(dict(top.entries)) == oracle
    assert [plain(dict(rule.entries)) for rule in rules] == tables


PLAN = Plan(
    "pci:x",
    Stage.ALIAS,
    (Match("nic", "pci:*", "modules.alias", 3), Match("other", "pci:x", "modules.alias", 4)),
    (
        Step("core"),
        Step("crc", why=Why.SOFTDEP, of="nic", required=False),
        Step("nic", needs=("core",), prefers=("crc",)),
        Step("other"),
    ),
)


def test_a_denied_match_is_denied_in_the_plan() -> None:
    """The plan says who denies, with file and line; what is allowed of it stays."""
    policy = parse_policy('[[rule]]\naction="deny"\nmodule="nic"\n', "/etc/p.toml")
    plan, rulings = apply(policy, PLAN, Facts(Phase.HOTPLUG, "pci", "pci:x"))
    assert [(d.module, d.by, d.file, d.line) for d in plan.denied] == [
        ("nic", Denied.POLICY, "/etc/p.toml", 1)
    ]
    assert rulings == {"nic": Ruling(False, 1), "other": Ruling(True)}


def test_a_module_that_a_rule_denies_does_not_come_as_a_dependency() -> None:
    """What needs a denied module is denied with it; a denied softdep harms nobody."""
    deny_core = parse_policy('[[rule]]\naction="deny"\nmodule="core"\n', "p")
    plan, rulings = apply(deny_core, PLAN, Facts(Phase.HOTPLUG))
    assert [denial.module for denial in plan.denied] == ["nic"]
    assert rulings["nic"] == Ruling(False, 1)
    deny_crc = parse_policy('[[rule]]\naction="deny"\nmodule="crc"\n', "p")
    plan, _ = apply(deny_crc, PLAN, Facts(Phase.HOTPLUG))
    assert plan.denied == ()


def test_what_an_allowed_module_needs_comes_along_when_frozen() -> None:
    """After a freeze one names the module and not all that it stands on."""
    policy = parse_policy('[[rule]]\naction="allow"\nmodule="nic"\n', "p")
    plan, rulings = apply(policy, PLAN, Facts(Phase.FROZEN))
    assert rulings == {"nic": Ruling(True, 1), "other": Ruling(False)}
    assert [(d.module, d.file) for d in plan.denied] == [("other", "no rule allows it while frozen")]
    assert "core" in {step.module for step in plan.steps}


def test_rules_that_decide_nothing_are_found() -> None:
    """A rule for a module that is not there, and one that a later rule always overrules."""
    policy = parse_policy(
        '[[rule]]\naction="deny"\nmodule=["nic", "nik"]\n'
        '[[rule]]\naction="allow"\nsubsystem="usb"\nport="1-1"\n'
        '[[rule]]\naction="deny"\nsubsystem=["usb", "pci"]\n',
        "p",
    )
    found = list(pointless(policy, {"nic"}.__contains__))
    assert found == [
        (1, "module nik: there is no such module"),
        (4, "the rule in line 8 applies wherever this one does, and comes later"),
    ]


def test_what_is_unloaded_is_a_list_of_the_files() -> None:
    """`unload` takes an array; anything else is a mistake, and so is a key that is none."""
    assert parse_policy('unload = ["usb", "pci"]\n', "p").unload == ("usb", "pci")
    assert parse_policy("", "p").unload == ()
    assert [mistake.line for mistake in parse_policy('\nunload = "usb"\n', "p").mistakes] == [2]
    assert "unload" in parse_policy('x = "1"\n', "p").mistakes[0].message


def test_who_has_decided_is_the_file_or_the_phase() -> None:
    """A ruling without a line is the phase's default, and says so."""
    policy = parse_policy("", "/etc/p.toml")
    assert policy.where(Ruling(False, 3), Phase.FROZEN) == "/etc/p.toml"
    assert policy.where(Ruling(False), Phase.FROZEN) == "no rule allows it while frozen"


def test_a_default_of_the_files_own_has_its_line() -> None:
    """`hotplug = "deny"` decides where no rule does."""
    assert judge('\nhotplug = "deny"\n') == Ruling(False, 2)
    assert judge('frozen = "allow"\n', USB_KEYBOARD._replace(phase=Phase.FROZEN)) == Ruling(True, 1)
