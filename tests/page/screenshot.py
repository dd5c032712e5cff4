"""Make the picture of the page in the documents: ``python -m tests.page.screenshot docs/page.png``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from .browser import chromium, launch

ROOT = Path(__file__).resolve().parents[2]
WORDS = "road, sidewalk, building, sky, car|cars|automobile, person, traffic light, fence, pole, tree"


def main(target: str) -> None:
    words = [sys.executable, str(ROOT / "tools" / "page.py"), "--device", "cpu"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process, sync_playwright() as playwright:
        assert process.stdout is not None
        address = process.stdout.readline().split()[4]
        browser = launch(playwright, chromium())
        page = browser.new_page(viewport={"width": 1200, "height": 860})
        page.set_default_timeout(120_000)
        page.goto(address)
        page.set_input_files("#words-image input[type=file]", ROOT / "docs" / "street.png")
        page.wait_for_selector("#words-image img")
        page.fill("#words-text textarea", WORDS)
        page.click("#words-find")
        page.wait_for_selector("#words-view .segments-view")
        page.locator("#words-view button", has_text="car").first.hover()
        page.wait_for_timeout(500)  # for the fading of buttons
        page.screenshot(path=target)
        browser.close()
        process.terminate()


if __name__ == "__main__":
    main(sys.argv[1])
