"""Takes the pictures of the pages that hostbuild makes, by Debian's chromium: docs/images/report.png and room.png.

    make screenshots FROM=DIR       # DIR: where docs/tutorial.md was followed

Usage: screenshots.py LEDGER IMAGE DIR
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from hostbuild.main import status_of

CHROMIUM = "/usr/bin/chromium"
# As wide as the text of the docs needs; a higher page is cut.
SIZES = {"report": (1240, 900), "room": (1000, 800)}


def main(ledger: Path, image: Path, directory: Path) -> int:
    """Make the pages and their pictures. Returns the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        report, room = Path(folder, "report.html"), Path(folder, "room.html")
        made = [["report", str(ledger), "-o", str(report)], ["inspect", str(image), "-o", str(room)]]
        status = next(filter(None, map(status_of, made)), 0)
        if status:
            return status
        directory.mkdir(parents=True, exist_ok=True)
        with sync_playwright() as playwright:
            options = ["--no-sandbox", "--disable-gpu"]
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
            for path in (report, room):
                width, height = SIZES[path.stem]
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
                page.goto(path.as_uri())
                page.wait_for_load_state()
                page.screenshot(path=directory / f"{path.stem}.png")
            browser.close()
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(main(*map(Path, sys.argv[1:])))
