"""Verdicts, the directory of results, and how they are shown: tables, JUnit's XML, the page, two runs compared."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hostbuild.errors import UsageError
from hostbuild.main import status_of
from hostbuild.matrix.asked.cells import Expected
from hostbuild.matrix.asked.job import CellResult, Lost
from hostbuild.matrix.conduct import history_in
from hostbuild.matrix.results.junit import render_junit
from hostbuild.matrix.results.page import render_page
from hostbuild.matrix.results.rows import Row, summary_lines
from hostbuild.matrix.results.store import Store, opened, write_run
from hostbuild.matrix.results.table import Progress
from hostbuild.matrix.results.verdict import Verdict, judge
from tests.support.ledgers import Q35, small_boot

KEY = "ab" * 16
HOSTILE = "<b>\x1b[31m&\x00\ud800 | \u202e]]>"


def rows() -> list[Row]:
    good = Row("k1", "amd64", "virtio", "default", "boot", Verdict.PASSED, KEY, 0, 3.25, 900.0)
    bad = replace(
        good, machine="q35", verdict=Verdict.FAILED, key="cd" * 16, complaints=(HOSTILE,), fix=HOSTILE
    )
    lost = Row(
        HOSTILE, "", "q35", "default", "boot", Verdict.LOST, complaints=("its image cannot be made: no",)
    )
    return [good, bad, lost]


@pytest.mark.parametrize(
    ("result", "expected", "complaint"),
    [
        (CellResult(0, 1.0), Expected(), ""),
        (CellResult(3, 1.0), Expected(3), ""),
        (
            CellResult(112, 1.0, cause="the guest panicked"),
            Expected(),
            "status 112, expected 0: the guest panicked",
        ),
        (CellResult(0, 1.0), Expected(modules=("nic",)), ""),
        (CellResult(0, 1.0), Expected(modules=("dog",)), "the module dog is not loaded"),
        (CellResult(0, 1.0), Expected(modules=("nothing",)), "the module nothing is not loaded"),
        (CellResult(0, 1.0), Expected(bound=("nothing",)), "no device is bound to the driver nothing"),
        (CellResult(0, 1.0), Expected(bound=("x=nothing",)), "there is no device x"),
    ],
)
def test_a_result_is_held_against_what_is_expected(
    result: CellResult, expected: Expected, complaint: str
) -> None:
    """Status, modules, drivers; what is wrong is said."""
    found = judge(result, expected, history_in(small_boot().text().encode()))
    assert "\n".join(found.complaints) == complaint
    assert found.verdict is (Verdict.FAILED if complaint else Verdict.PASSED)


def test_devices_are_known_by_the_end_of_their_path() -> None:
    """DEVICE=DRIVER holds for a device of a true boot; another driver is named, with the one that has it."""
    history = history_in(Q35.read_bytes())
    assert history is not None
    device = next(one for one in history.devices.values() if one.driver and one.present)
    end = device.devpath.rpartition("/")[2]
    assert (
        judge(
            CellResult(0, 1.0), Expected(bound=(f"{end}={device.driver}", device.driver)), history
        ).complaints
        == ()
    )
    [said] = judge(CellResult(0, 1.0), Expected(bound=(f"{end}=other",)), history).complaints
    assert said == f"the device {end} is bound to {device.driver}, expected other"


def test_who_has_no_ledger_has_no_modules() -> None:
    """A guest without the daemon, or a suite of pytest, of which modules are expected, fails in words."""
    assert judge(CellResult(0, 1.0), Expected(modules=("x",)), None).verdict is Verdict.FAILED
    assert judge(Lost("gone"), Expected(), None).verdict is Verdict.LOST
    assert history_in(b"no ledger\n\xff\n") is None


def test_a_result_is_kept_whole(tmp_path: Path) -> None:
    """What was kept is found as it was; what is damaged, or lacks a file, is no result, so that it is run again."""
    result = CellResult(1, 2.5, "why", "fix", small_boot().text().encode(), "console\n", "out", ("note",))
    with opened(tmp_path / "r") as store:
        assert store.find(KEY) is None
        store.keep(KEY, "a cell", CellResult(9, 9.0, output="older"))
        store.keep(KEY, "a cell", result)
        assert store.find(KEY) == result
        assert [path.name for path in (tmp_path / "r/cells").iterdir()] == [KEY]
        (store.place(KEY) / "ledger.jsonl").write_text("cut")
        assert store.find(KEY) is None
        store.keep(KEY, "a cell", result)
        (store.place(KEY) / "result.json").write_text('{"format": 1}')
        assert store.find(KEY) is None


def test_a_directory_has_one_run_at_a_time(tmp_path: Path) -> None:
    """A second run is refused, and so is a directory that has something else; the lock goes with the run."""
    with opened(tmp_path / "r"), pytest.raises(UsageError, match="another run"), opened(tmp_path / "r"):
        pass
    with opened(tmp_path / "r"):
        pass
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").touch()
    with pytest.raises(UsageError, match="other files"), opened(tmp_path / "mine"):
        pass


def test_the_summary_names_what_is_wrong() -> None:
    """A line a kernel, a column a machine; below, each cell that is not as expected with its complaint."""
    lines = summary_lines(rows())
    assert lines[0].split() == ["virtio", "q35"]
    assert lines[1].split() == ["k1", "ok", "3.2", "s", "FAILED"]
    assert f"lost: {HOSTILE} | q35 | default | boot" in lines
    assert lines[-1] == "1 of 3 cells as expected, 1 failed, 1 without a result"


def test_junit_is_xml_whatever_guests_say() -> None:
    """Suites by kernel, with their counts; characters that XML cannot hold are replaced."""
    root = ElementTree.fromstring(render_junit(rows(), HOSTILE))
    first, second = root.findall("testsuite")
    assert (first.get("tests"), first.get("failures"), first.get("errors")) == ("2", "1", "0")
    assert (second.get("tests"), second.get("errors")) == ("1", "1")
    good, bad = first.findall("testcase")
    assert (good.get("classname"), good.get("name"), good.find("failure")) == (
        "k1.virtio",
        "default.boot",
        None,
    )
    failure = bad.find("failure")
    assert failure is not None
    assert "\x1b" not in (failure.get("message") or "")
    assert "<b>" in (failure.text or "")


def test_the_page_has_only_its_own_tags() -> None:
    """Nothing that a guest said is markup; each cell with files is a link to its report."""
    page = render_page(rows(), HOSTILE, "now", {KEY: ("report.html", "ledger.jsonl")})
    assert "<b>" not in page
    assert "\x1b" not in page
    assert f'href="cells/{KEY}/report.html"' in page
    page.encode()
    ElementTree.fromstring(  # every tag that is opened is closed
        page.partition("<body>")[2].partition("</body>")[0].join(("<x>", "</x>")).replace(" class=wide", "")
        .replace("scope=col", "").replace("scope=row", "").replace("class=none", "").replace("class=passed", "")
        .replace("class=failed", "").replace("class=lost", "")
    )  # fmt: skip


def test_the_live_table_counts() -> None:
    """What is done, and what of it is not as expected."""
    from hostbuild.matrix.asked.cells import cells_of
    from tests.host.matrix.test_asked import spec_of

    progress = Progress(
        cells_of(spec_of('kernels = ["k1", "k2"]\nmachines = ["virtio", "q35"]\n[tests.a]\n[tests.b]'))
    )
    assert progress.counts() == "0 of 8 cells done"
    for row in rows()[:2]:
        progress.take(row)
    assert progress.counts() == "2 of 8 cells done, 1 not as expected"
    assert progress.shown("k1", "virtio") == ("1/2", "")
    assert progress.shown("k1", "q35")[0] == "1/2, 1 bad"
    progress.render(3)


def test_two_runs_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`hostbuild diff RUN1 RUN2`: which device lost its driver, and in which cells; status 1 for a regression."""
    whole = Q35.read_text()
    history = history_in(whole.encode())
    assert history is not None
    victim = next(one for one in history.devices.values() if one.driver and one.module and one.present)
    lines = [
        line for line in whole.splitlines()
        if not (json.loads(line).get("driver") and json.loads(line).get("devpath") == victim.devpath)
    ]  # fmt: skip
    for name, text, verdict in (("old", whole, "passed"), ("new", "\n".join(lines) + "\n", "failed")):
        with opened(tmp_path / name) as store:
            cells: list[dict[str, str | None]] = []
            for number in range(2):
                key = f"{number:032x}"
                store.keep(key, f"cell {number}", CellResult(0, 1.0, ledger=text.encode()))
                cells.append({"name": f"cell {number}", "key": key, "verdict": verdict})
            cells.append({"name": f"only {name}", "key": None, "verdict": "lost"})
            write_run(store.directory, {"format": 1, "cells": cells})
    assert status_of(["diff", str(tmp_path / "old"), str(tmp_path / "old")]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("nothing changed")
    assert status_of(["diff", str(tmp_path / "old"), str(tmp_path / "new")]) == 1
    out = capsys.readouterr().out
    assert "cells that have become worse (1):\n  passed -> failed  in cell 0, cell 1" in out
    assert f"{victim.devpath}: {victim.driver} -> " in out
    assert "1 cells in the first run only: only old" in out
    assert status_of(["diff", str(tmp_path / "old"), str(tmp_path / "new"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["regression"]
    assert found["unbound"][0]["cells"] == ["cell 0", "cell 1"]


@pytest.mark.parametrize(
    "damage",
    [
        "{",
        "[]",
        '{"format": 1}',
        '{"format": 1, "cells": [{"name": "x", "verdict": "passed", "key": "../../x"}]}',
    ],
)
def test_a_damaged_run_is_refused(tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In words, with the file; a key that would lead out of the directory is no key."""
    (tmp_path / "run.json").write_text(damage)
    assert status_of(["diff", str(tmp_path), str(tmp_path)]) == 100
    assert "run.json is damaged" in capsys.readouterr().err
    assert Store(tmp_path).find(KEY) is None
