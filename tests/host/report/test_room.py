"""The page of what takes the room: the layout's arithmetic, the image's, and the page in a browser."""

import gzip
import io
import itertools
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import sync_playwright

from hostbuild.formats.initramfs import newc
from hostbuild.formats.initramfs.archive import open_image
from hostbuild.main import status_of
from hostbuild.report.room import WRITTEN_OVER, Room, read_room
from hostbuild.report.room_html import render_room
from hostbuild.report.treemap import Item, lay_out, squarify
from tests.host.report.test_browser import ARGUMENTS, CHROMIUM
from tests.support.hostile import EVIL

EVIL_NAME = EVIL.replace("/", "|")
SIZES = st.lists(st.integers(1, 1 << 40), min_size=1, max_size=60).map(
    lambda sizes: sorted(sizes, reverse=True)
)
SIDES = st.floats(1.0, 5000.0)


@given(SIZES, SIDES, SIDES)
def test_areas_are_the_sizes(sizes: list[int], width: float, height: float) -> None:
    """Each rectangle has its share of the area, lies inside, and covers no other."""
    boxes = squarify(sizes, 0.0, 0.0, width, height)
    slack = 1e-6 * max(width, height)
    for size, (x, y, wide, high) in zip(sizes, boxes, strict=True):
        assert wide * high == pytest.approx(size / sum(sizes) * width * height, rel=1e-3, abs=slack)
        assert x >= -slack
        assert y >= -slack
        assert x + wide <= width + slack
        assert y + high <= height + slack
    for (x, y, wide, high), (left, top, across, down) in itertools.combinations(boxes, 2):
        over = min(x + wide, left + across) - max(x, left), min(y + high, top + down) - max(y, top)
        assert min(over) <= slack


def test_equal_sizes_become_squares() -> None:
    """Sixteen equal ones in a square are a grid of four by four."""
    boxes = squarify([1] * 16, 0.0, 0.0, 100.0, 100.0)
    assert {(round(wide), round(high)) for _, _, wide, high in boxes} == {(25, 25)}


def test_what_is_inside_lies_inside() -> None:
    """A folder's box comes before those of its files, and holds them below its name; what has no size has no box."""
    inner = [Item("a", "d/a", 60), Item("b", "d/b", 40), Item("empty", "d/empty", 0)]
    boxes = list(lay_out([Item("d", "d", 100, inside=inner)], 200.0, 100.0))
    assert [(box.item.name, box.depth, box.head) for box in boxes] == [
        ("d", 0, True),
        ("a", 1, False),
        ("b", 1, False),
    ]
    assert all(box.y > boxes[0].y + 10 for box in boxes[1:])


def write_image(path: Path) -> Path:
    """A plain archive and a packed one that writes over a file of it."""

    def archive(files: dict[str, bytes]) -> bytes:
        out = io.BytesIO()
        writer = newc.Writer(out.write)
        names = sorted({str(parent) for name in files for parent in Path(name).parents if str(parent) != "."})
        for name in names:
            writer.add(newc.Member(name, stat.S_IFDIR | 0o755))
        for name, data in files.items():
            writer.add(newc.Member(name, stat.S_IFREG | 0o644), data)
        writer.close()
        return out.getvalue()

    first = archive({"kernel/x86/microcode/AuthenticAMD.bin": b"m" * 5000, "etc/x": b"old" * 100})
    second = archive(
        {"etc/x": b"new" * 50, f"usr/bin/{EVIL_NAME}": bytes(90_000), "usr/bin/busybox": b"ab" * 9000}
    )
    path.write_bytes(first + gzip.compress(second))
    return path


def room_of(path: Path) -> Room:
    return read_room(open_image(path), {"etc/x": "overlay"}, lambda _: None)


def test_each_byte_is_some_files(tmp_path: Path) -> None:
    """Parts add up to the members' sizes, what was written over included; a packed archive's bytes are shared out."""
    room = room_of(write_image(tmp_path / "x.img"))
    parts = {part.name: part for part in room.parts}
    assert {name: part.size for name, part in parts.items()} == {
        "programs": 90_000,
        "busybox": 18_000,
        "microcode": 5000,
        WRITTEN_OVER: 300,
        "overlay": 150,
    }
    assert (parts["microcode"].packed, parts[WRITTEN_OVER].packed) == (5000, 300), "they lie plain"
    packed = open_image(tmp_path / "x.img").segments[1].packed
    shared = sum(parts[name].packed for name in ("programs", "busybox", "overlay"))
    assert packed - 3 <= shared <= packed
    assert [item.path for item in room.largest(2)] == [f"usr/bin/{EVIL_NAME}", "usr/bin/busybox"]


@pytest.mark.slow
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    """It is whole without a network, runs nothing that a name says, and can be gone through by keys and pointer."""
    image = write_image(tmp_path / "x.img")
    page_file = tmp_path / "room.html"
    assert status_of(["inspect", str(image), "-o", str(page_file)]) == 0
    text = page_file.read_text(encoding="utf-8")
    assert "<img" not in text
    assert "http://" not in text
    assert "https://" not in text
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 900, "height": 900}, color_scheme="dark")
        troubles: list[str] = []
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: troubles.append(dialog.message))
        page.on(
            "request", lambda request: troubles.append(request.url) if "file:" not in request.url else None
        )
        page.goto(page_file.as_uri())
        page.focus("#frame")
        said = []
        for key in ("ArrowRight", "ArrowDown", "ArrowUp", "ArrowRight", "ArrowLeft"):
            page.keyboard.press(key)
            said.append(page.inner_text("#told").partition(": ")[0])
        assert said[0] == said[2] == said[4] == "programs"
        assert said[1].startswith("usr/bin/<|script>")
        assert said[3] == "busybox"
        page.hover("#map rect.c1.file")
        assert page.inner_text("#told").startswith("usr/bin/busybox: 17.6 KiB (15.9 %)")
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.keyboard.press("t")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
        assert page.locator("#map rect").count() == text.count("<rect ")
        browser.close()
    assert troubles == []


def test_an_empty_image_has_a_page(tmp_path: Path) -> None:
    """Nothing is divided by nothing."""
    out = io.BytesIO()
    newc.Writer(out.write).close()
    path = tmp_path / "empty.img"
    path.write_bytes(out.getvalue())
    assert "0 files" in render_room(room_of(path))
