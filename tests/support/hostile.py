"""Ledgers as an attacker would write them, and every command that reads one."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hostbuild.predict.capture import capture_of_history, render_capture
from hostbuild.predict.learn import learn
from hostbuild.predict.prediction import Target
from hostbuild.predict.prove import prove
from hostbuild.predict.simulate import predict
from hostbuild.predict.target import make_target
from hostbuild.predict.text import prediction_fields, render_prediction
from modaliasd.core.kmod.invocation import Flavour
from modaliasd.core.ledger.door import CAUSE, INITCALL, MATCH, TYPES
from modaliasd.core.ledger.history import History
from tests.support.ledgers import q35_records
from tests.support.places import PROJECT

# What a terminal must not get from others: C0, C1, their like in Unicode, and what a page or a shell would run
EVIL = (
    "</script><img src=x onerror=alert(1)>"
    "\x1b]0;title\x07\x1b[31m\x9b31m\x7f\r\n\t\u202e\u2066\u2028\udcff$(x)`'\""
)

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, -0.0, 1e308, 2**53, 2**63, 2**64, 10**400, "", "/", "//", "/a", "a", " ", "\0", EVIL,
    "²", "/devices/²", "/devices/1²/٣", "/" * 5000, "/a" * 2000, "x" * 5000, [], [None], [[]], [{}], {}, {"a": 1},
    ["x", 1], [{"module": 1}], [{"module": "x", "line": "y"}], [{"devpath": []}], {"type": {}}, "\ud800",
)  # fmt: skip


EVIL_VALUES: dict[str, Any] = {  # by the name of the door's check
    "names": [EVIL, EVIL + "2"],
    "time": 5,
    "count": 5,
    "counts": {EVIL: 5, EVIL + "2": 6},
    "status": 5,
    "milliseconds": 5.5,
    "flag": True,
}


def evil_value(name: str, check: object) -> Any:
    kind = getattr(check, "__name__", "")
    if kind == "text":
        return EVIL + name
    return f"/devices/{EVIL}/{name}" if kind == "devpath" else EVIL_VALUES[kind]


MATCHES = [{name: evil_value(name, check) for name, check in MATCH.checks.items() if name != "builtin"}]
INITCALLS = [{name: evil_value(name, check) for name, check in INITCALL.checks.items()}]
CAUSES = [
    {name: evil_value(name, CAUSE.checks[name]) for name in names}
    for names in (
        ("devpath", "subsystem", "modalias", "alias", "line", "file"),
        ("module",),
        ("softdep",),
        ("request", "alias", "line", "file"),
    )
]


def choices_of(kind: str, name: str) -> list[str]:
    """The words that a field of the schema may have; [] where any will do."""
    schema = json.loads((PROJECT / "docs/ledger.schema.json").read_text(encoding="utf-8"))["$defs"]
    found: list[str] = schema.get(kind, {}).get("properties", {}).get(name, {}).get("enum", [])
    return found


def evil_record(kind: str, choices: bool) -> dict[str, Any]:
    """A record with evil text in each field. choices: in the fields with closed choices, too."""
    fixed: dict[str, Any] = {"type": kind, "format": 1, "matches": MATCHES, "causes": CAUSES}
    fixed["initcalls"] = INITCALLS
    record: dict[str, Any] = {EVIL: {EVIL: [EVIL]}}
    for name, check in TYPES[kind].checks.items():
        words = [] if choices or name in fixed else choices_of(kind, name)
        record[name] = fixed[name] if name in fixed else words[0] if words else evil_value(name, check)
    return record


def evil_records(choices: bool) -> Iterator[dict[str, Any]]:
    """Records of each type, those that readers make the most of in several forms."""
    for kind in TYPES:
        record = evil_record(kind, choices)
        if kind == "device":
            record.pop("from")
            for action in ("coldplug", "bind", "unbind", "add"):
                yield record if choices else record | {"action": action}
            yield record | {"driver": "", "devpath": f"/devices/{EVIL}/2", "module": EVIL}
        elif kind == "load":
            for at, outcome in enumerate(choices_of("load", "outcome")):
                yield record | ({} if choices else {"outcome": outcome}) | {"causes": CAUSES[at % 4 :]}
            for cause in CAUSES:
                yield record | {"module": EVIL + "module", "causes": [cause], "outcome": "inserted"}
        elif kind != "exit":
            yield record
    yield {"type": EVIL, "t_us": 7, EVIL: EVIL}
    yield {"type": "exit", "t_us": 9, "status": 5}


class Mutator:
    """Makes mutants of a real ledger's text."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        records = q35_records()
        chosen = sorted(rng.sample(range(len(records)), 40))
        self._lines = [json.dumps(records[at]) for at in sorted({0, *chosen, len(records) - 1})]

    def text(self) -> bytes:
        """One mutant: some lines changed in their values, some in their bytes, some moved."""
        lines = list(self._lines)
        for _ in range(self._rng.randint(1, 12)):
            at = self._rng.randrange(len(lines))
            way = self._rng.randrange(10)
            if way < 6:
                lines[at] = self._changed(lines[at])
            elif way == 6:
                lines[at] = self._cut(lines[at])
            elif way == 7:
                lines.insert(self._rng.randrange(len(lines)), lines[at])
            elif way == 8:
                depth = self._rng.choice((3, 15, 17, 500, 200_000))
                lines[at] = '{"type":"later","deep":' + "[" * depth + "]" * depth + "}"
            else:
                other = self._rng.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
        return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")

    def _changed(self, line: str) -> str:
        """The line with a value of it replaced, taken away or added."""
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return line
        place: Any = record
        while isinstance(place, (dict, list)) and place:
            key: Any = (
                self._rng.choice(list(place)) if isinstance(place, dict) else self._rng.randrange(len(place))
            )
            if isinstance(place[key], (dict, list)) and place[key] and self._rng.random() < 0.7:
                place = place[key]
                continue
            if self._rng.random() < 0.15:
                del place[key]
            elif self._rng.random() < 0.2 and isinstance(place, dict):
                place[self._rng.choice((EVIL, "later", "devpath", "module", "from"))] = self._rng.choice(
                    VALUES
                )
            else:
                place[key] = self._rng.choice(VALUES)
            break
        return json.dumps(record)

    def _cut(self, line: str) -> str:
        """The line with its bytes damaged."""
        at = self._rng.randrange(len(line) + 1)
        junk = self._rng.choice(
            ("", "\0", "\x1b[2J", "\udcff", "9" * 5000, "NaN", "1e999", '"', "\\", "{", "]")
        )
        return line[:at] + junk + line[at + self._rng.randrange(20) :]


def q35_target() -> Target:
    """A kernel of the modules and the aliases that the real ledger names."""
    records = q35_records()
    matches = [match for record in records for match in record.get("matches", ())]
    aliases = sorted({(match["alias"], match["module"]) for match in matches})
    loads = {record["module"]: record.get("deps", []) for record in records if record["type"] == "load"}
    rows = [
        f"k/{name}.ko: {' '.join(f'k/{need}.ko' for need in needs)}" for name, needs in sorted(loads.items())
    ]
    tables = {
        "modules.alias": "".join(f"alias {alias} {module}\n" for alias, module in aliases).encode(),
        "modules.dep": "".join(f"{row}\n" for row in rows).encode(),
    }
    return make_target(tables, {}, "", "6.1.0-test", "this kernel", Flavour.BUSYBOX)


def guest_commands(path: Path, names: list[str]) -> list[list[str]]:
    """The guest's command lines that read a ledger; names: modules and devices to ask about."""
    asked = [["tree", f"--by={by}"] for by in ("device", "module", "time")]
    asked += [["tree", "--full", "--new"], ["ledger"]]
    asked += [[command, "--", name] for name in names for command in ("why", "why-not")]
    found = [[words[0], f"--ledger={path}", "--color=always", *words[1:]] for words in asked]
    return [*found, ["ledger", f"--ledger={path}", "--json"]]


def host_commands(path: Path, other: Path, out: Path) -> list[list[str]]:
    """The host's command lines that read a ledger. out: a folder for what they write."""
    first, second, folder = str(path), str(other), str(out)
    return [
        *(["tree", f"--by={by}", "--color", first] for by in ("device", "module", "time")),
        ["tree", "--no-color", first],
        *(["report", first, f"--format={kind}"] for kind in ("perfetto", "text", "json")),
        *(["report", first, "-o", f"{folder}/r.{end}"] for end in ("html", "svg", "dot")),
        ["diff", first, second],
        ["diff", second, first],
        ["diff", "--json", second, first],
        ["watch", first, "--timeout=0"],
    ]


def run_foresight(history: History, other: History, target: Target) -> Iterator[str]:
    """Predict, learn from, and prove with a history; gives the texts that come of it."""
    capture = capture_of_history(history)
    prediction = predict(capture, target)
    yield render_prediction(prediction, "this image")
    yield json.dumps(prediction_fields(prediction))
    yield render_capture(capture)
    prove(history, other)
    prove(other, history)
    learn(capture, target)
