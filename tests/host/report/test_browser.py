"""The report's page in Debian's chromium, without a network."""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Error, Page, Request, sync_playwright

from hostbuild.main import status_of
from hostbuild.report.html import render_html
from hostbuild.report.model import make_model
from modaliasd.core.ledger.history import history_of
from tests.support.hostile import EVIL, evil_records
from tests.support.ledgers import Maker, asked_by, q35_records, tree_boot

pytestmark = pytest.mark.slow

CHROMIUM = "/usr/bin/chromium"
PAINT = "performance.getEntriesByName('first-contentful-paint')"
ARGUMENTS = [
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def big_boot(devices: int) -> Maker:
    """A boot with many devices, every third of which has a module of its own loaded."""
    maker = Maker()
    for number in range(devices):
        path = f"/devices/pci{number % 40:04x}:00/{number:04x}:00:00.0"
        modalias = f"pci:v{number:08X}d00000001sv*sd*bc{number % 5:02X}sc00i00"
        module = f"driver_{number}"
        wants = number % 3 == 0
        maker.device(
            path,
            subsystem="pci",
            modalias=modalias,
            matches=[(modalias, module)] if wants else [],
            driver="d",
        )
        if wants:
            maker.load(module, asked_by(path, modalias, modalias))
    maker.settled(devices=devices)
    return maker


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    records = q35_records()
    plugged: dict[str, Any] = {
        "type": "device",
        "action": "add",
        "devpath": "/devices/plugged",
        "seqnum": 9000,
    }
    plugged |= {
        "subsystem": "pci",
        "modalias": "pci:n",
        "matches": [{"alias": "pci:n", "line": 1, "module": "nu"}],
    }
    at = records[-1]["t_us"] + 30_000_000
    records += [
        plugged | {"t_us": at},
        {
            "type": "load",
            "t_us": at + 9000,
            "module": "nu",
            "outcome": "failed",
            "causes": [asked_by("/devices/plugged", "pci:n", "pci:n")],
            "queued_us": at,
            "end_us": at + 8000,
            "message": "Unknown symbol",
        },
        records[-1] | {"t_us": at + 10_000},
    ]
    path = tmp_path_factory.mktemp("report") / "report.html"
    manifest = {"modules": [{"name": "fuse", "size": 150_000, "path": "kernel/fs/fuse/fuse.ko"}]}
    path.write_text(render_html(make_model(history_of(records), manifest, "q35")), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(color_scheme="light")
    yield context.new_page()
    context.close()


@pytest.fixture
def page(tab: Page, page_file: Path) -> Iterator[Page]:
    """The page, opened anew; it may not log an error nor ask for anything but itself."""
    complaints: list[str] = []

    def listen(request: Request) -> None:
        if not request.url.startswith(("file:", "data:")):
            complaints.append(request.url)

    def log(message: ConsoleMessage) -> None:
        complaints.append(message.text)

    def fail(error: Error) -> None:
        complaints.append(str(error))

    tab.on("request", listen)
    tab.on("console", log)
    tab.on("pageerror", fail)
    tab.set_viewport_size({"width": 1440, "height": 900})
    tab.goto(page_file.as_uri())
    tab.wait_for_selector("html[data-ready]")
    yield tab
    tab.remove_listener("request", listen)
    tab.remove_listener("console", log)
    tab.remove_listener("pageerror", fail)
    assert complaints == []


def test_every_load_of_the_boot_has_a_bar(page: Page) -> None:
    """One row a module of the coldplug; the hotplugged one is not among them."""
    modules = page.locator(".row").evaluate_all("rows => rows.map(row => row.dataset.module)")
    assert sorted(modules) == sorted({r["module"] for r in q35_records() if r["type"] == "load"})


def test_the_hotplug_is_an_episode_of_its_own(page: Page) -> None:
    """Its tab shows its module, as not loaded; the failure stands in the list with its reason."""
    page.get_by_role("tab", name="Hotplug 1").click()
    assert page.locator(".row").evaluate_all("rows => rows.map(row => row.dataset.module)") == ["nu"]
    assert page.locator(".row .b-bad").count() == 1
    assert "Unknown symbol" in page.locator("#failures").inner_text()


def test_bars_begin_when_the_load_did(page: Page) -> None:
    """A bar's place in its track is the load's start in the episode, to a tenth of a percent."""
    records = q35_records()
    load = next(r for r in records if r.get("module") == "sd_mod" and r["type"] == "load")
    begin, end = records[0]["t_us"], records[-1]["t_us"]
    place = page.locator('.row[data-module="sd_mod"] .b-load').evaluate(
        "bar => bar.offsetLeft / bar.parentElement.offsetWidth"
    )
    assert place == pytest.approx((load["start_us"] - begin) / (end - begin), abs=0.002)


def test_zoom_keeps_what_it_is_about(page: Page) -> None:
    """Zooming in with a module chosen widens the track and leaves the module's start where it was."""
    bar = page.locator('.row[data-module="virtio_blk"] .b-load')
    page.locator('.row[data-module="virtio_blk"] .label').click()
    before, width = bar.bounding_box(), page.locator(".row .track").first.bounding_box()
    for _ in range(3):
        page.keyboard.press("+")
    after, wider = bar.bounding_box(), page.locator(".row .track").first.bounding_box()
    assert before
    assert after
    assert width
    assert wider
    assert wider["width"] > 3 * width["width"]
    assert after["x"] == pytest.approx(before["x"], abs=3)
    page.keyboard.press("0")
    assert page.locator(".row .track").first.bounding_box() == width


def test_cascades_nest_in_the_tree(page: Page) -> None:
    """/dev/sde stands below the SCSI device, the USB interface, the stick, the hub and the PCI card."""
    names = page.locator(".node:has(.dev:text-is('/dev/sde'))").evaluate(
        "node => { const out = [], level = (li) => Number(li.ariaLevel); let under = Infinity;"
        " for (let li = node.closest('li'); li; li = li.previousElementSibling) if (level(li) < under) {"
        " out.push(li.querySelector('.name').textContent); under = level(li); } return out; }"
    )
    assert names == ["sde", "10:0:0:0", "2-1:1.0", "2-1", "usb2", "0000:00:11.0"]


def test_search_narrows_both(page: Page) -> None:
    """Typing a module leaves the devices that it drives and those they hang on, and counts the hits."""
    page.keyboard.press("/")
    page.keyboard.type("usb_storage")
    page.locator("#found").wait_for()
    shown = page.locator(".node.hit:visible .name").all_inner_texts()
    assert shown == ["2-1:1.0"]
    assert page.locator(".row:visible .label").all_inner_texts() == ["usb_storage"]
    assert page.locator("#found").inner_text() == "1 module, 1 device"
    page.keyboard.press("Escape")
    assert page.locator(".row:visible").count() > 90


def test_tree_and_timeline_are_linked(page: Page) -> None:
    """Pointing at a device lights up its module's bar; pointing at a bar its devices."""
    page.locator(".node:has(.name:text-is('0000:00:0d.0'))").hover()
    assert page.locator(".row.linked").get_attribute("data-module") == "e1000"
    page.locator('.row[data-module="nvme"] .label').hover()
    assert page.locator(".node.linked .name").all_inner_texts() == ["0000:00:08.0"]
    assert "loading" in page.locator("#tip").inner_text()


def test_the_keyboard_is_enough(page: Page) -> None:
    """Down to the second module, Enter for its details, Escape to close; d goes to the devices."""
    page.keyboard.press("m")
    page.keyboard.press("j")
    second = page.locator(".row").nth(1).get_attribute("data-module")
    page.keyboard.press("Enter")
    assert page.locator("#detail h3").inner_text() == second
    page.keyboard.press("Escape")
    assert not page.locator("#detail").is_visible()
    page.keyboard.press("d")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    assert page.locator("#detail").is_visible()


def test_details_say_why(page: Page) -> None:
    """The details of a dependency lead to who needed it, and from there to the device with its alias."""
    page.locator('.row[data-module="scsi_mod"] .label').click()
    page.locator("#detail").get_by_role("button", name="megaraid_sas").click()
    assert page.locator("#detail h3").inner_text() == "megaraid_sas"
    assert "pci:v00001000d00000060sv*sd*bc*sc*i*" in page.locator("#detail").inner_text()
    page.locator("#detail").get_by_role("button", name="pci 0000:00:09.0").first.click()
    assert "megaraid_sas, from megaraid_sas" in page.locator("#detail").inner_text()


def test_a_node_of_a_device_tree(browser: Browser, tmp_path: Path) -> None:
    """A device's details have its node's path and its compatibles; the one that an alias matched is bold."""
    path = tmp_path / "tree.html"
    path.write_text(render_html(make_model(history_of(tree_boot().records), None, "tree")), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]")
    page.locator(".node").filter(has_text="9000.serial").click()
    detail = page.locator("#detail")
    assert "/soc/serial@9000" in detail.inner_text()
    assert "acme,uart-2, acme,uart, ns16550a" in detail.inner_text()
    assert detail.locator("dd b").all_inner_texts() == ["acme,uart"]
    page.close()


def test_nothing_of_a_ledger_runs(browser: Browser, tmp_path: Path) -> None:
    """Markup and script in every field: the page shows them as text, wherever one looks, and so does the picture."""
    path = tmp_path / "evil.jsonl"
    records = list(evil_records(choices=False))
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="ascii")
    page = browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def refuse(dialog: Dialog) -> None:
        complaints.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", refuse)
    for end in ("html", "svg"):
        out = tmp_path / f"r.{end}"
        assert status_of(["report", str(path), "--title", EVIL, "-o", str(out)]) == 0
        page.goto(out.as_uri())
        if end == "html":
            page.wait_for_selector("html[data-ready]")
            assert page.locator(".row").count() > 0
            for chosen in (page.locator(".row .label"), page.locator(".node")):
                for number in range(chosen.count()):
                    chosen.nth(number).click()
                    chosen.nth(number).hover()
            page.keyboard.press("/")
            page.keyboard.type("onerror")
        assert page.locator("img").count() == 0
        assert page.locator("script").count() == (2 if end == "html" else 0)
    assert "onerror" in page.content()
    page.close()
    assert complaints == []


def test_light_and_dark(browser: Browser, page_file: Path) -> None:
    """The system's wish holds until the button is pressed."""
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(page_file.as_uri())
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Change between light and dark").click()
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    context.close()
    brightness = [sum(map(int, colour[4:-1].split(","))) for colour in (dark, light)]
    assert brightness[0] < 150 < 600 < brightness[1]


@pytest.mark.parametrize("width", [360, 390, 768, 1440])
def test_nothing_sticks_out(width: int, page: Page) -> None:
    """At a phone's width, too, the page itself does not scroll sideways."""
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_thousand_devices_paint_nearly_as_soon_as_a_hundred(browser: Browser, tmp_path: Path) -> None:
    """First contentful paint of 1,000 devices and 334 loads: not four times that of a tenth of them."""
    paints: dict[int, list[float]] = {100: [], 1000: []}
    page = browser.new_page()
    for devices, times in paints.items():
        path = tmp_path / f"{devices}.html"
        path.write_text(render_html(make_model(history_of(big_boot(devices).records))), encoding="utf-8")
        for _ in range(3):
            page.goto(path.as_uri())
            page.wait_for_function(f"{PAINT}.length")
            times.append(page.evaluate(f"{PAINT}[0].startTime"))
    assert page.locator(".row").count() == 334
    page.close()
    assert median(paints[1000]) < 4 * median(paints[100]), json.dumps(paints)


def test_a_long_ledger_draws_what_is_in_view(browser: Browser, tmp_path: Path) -> None:
    """30,000 devices and 10,000 loads: a thousand elements, whatever is scrolled, searched, or no longer searched."""
    path = tmp_path / "long.html"
    maker = big_boot(30_000)
    for number in range(40):
        maker.device(f"/devices/stick{number}", "add", subsystem="usb", modalias="usb:v1")
        maker.settled(devices=30_000)
    path.write_text(render_html(make_model(history_of(maker.records))), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached")

    def nodes() -> int:
        return int(page.evaluate("document.querySelectorAll('*').length"))

    assert nodes() < 2000
    page.evaluate("document.getElementById('chart').scrollTop = 1e9")
    page.locator('.row[data-module="driver_29997"]').wait_for()
    page.evaluate("document.getElementById('tree-box').scrollTop = 1e9")
    page.keyboard.press("/")
    page.keyboard.type("driver_2999")
    page.locator("#found:text-is('3 modules, 3 devices')").wait_for()
    assert page.locator(".node.hit").count() == 3
    begun = page.evaluate("performance.now()")
    page.keyboard.press("Escape")
    page.locator('.row[data-module="driver_0"]').wait_for(state="attached")
    assert page.evaluate("performance.now()") - begun < 5000, "it took half a minute once"
    page.keyboard.press("m")
    for _ in range(40):
        page.keyboard.press("j")
    assert page.evaluate("document.activeElement.dataset.module") == "driver_120"
    assert page.locator("#episodes button").count() == 8
    assert page.locator("#more-episodes option").count() > 10
    assert nodes() < 2000
    page.close()


def test_what_is_folded_is_gone_until_it_is_searched(page: Page) -> None:
    """A folded device hides what is below it; a search, and a link from elsewhere, find it all the same."""
    hub = page.locator(".node:has(.name:text-is('0000:00:11.0'))")
    assert page.locator(".name:text-is('sde')").count() == 1
    hub.locator(".fold").click()
    assert hub.get_attribute("aria-expanded") == "false"
    assert page.locator(".name:text-is('sde')").count() == 0
    page.keyboard.press("/")
    page.keyboard.type("/dev/sde")
    page.locator(".name:text-is('sde')").wait_for()
    page.keyboard.press("Escape")
    assert page.locator(".name:text-is('sde')").count() == 0
    page.locator('.row[data-module="usb_storage"] .label').click()
    page.locator("#detail").get_by_role("button", name="usb 2-1:1.0").first.click()
    page.locator(".name:text-is('sde')").wait_for()


def test_the_boot_begins_with_the_kernel(page: Page) -> None:
    """The phases are as long as the ledger has them, and reach from the kernel's start to the first settle."""
    records = q35_records()
    started, settled = records[0]["t_us"], next(r["t_us"] for r in records if r["type"] == "settled")
    shares = page.locator(".phase").evaluate_all("all => all.map(one => parseFloat(one.style.width))")
    assert shares == pytest.approx([100 * started / settled, 100 * (settled - started) / settled], abs=0.01)
    assert page.locator(".phase").all_inner_texts()[0].startswith("kernel and init")


def test_the_numbers_agree(page: Page) -> None:
    """The header's devices and modules are those of the cards, and of what is drawn."""
    cards = dict(
        page.locator(".figure").evaluate_all(
            "all => all.map(f => [f.lastChild.textContent, f.firstChild.textContent])"
        )
    )
    header = page.locator("#subtitle").inner_text()
    assert f"{cards['devices']} devices" in header
    assert f"{cards['modules loaded']} modules loaded" in header
    page.get_by_label("also those with nothing to report").check()
    assert page.locator(".node").count() == int(cards["devices"])
    page.get_by_label("also those with nothing to report").uncheck()
