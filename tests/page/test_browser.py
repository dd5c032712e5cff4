"""The page in a real browser, with the embedded models: what a visitor sees, types, clicks and downloads."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zsseg_d2

from .browser import chromium, launch
from .images import BAD, GOOD, SENTENCES

sync_api = pytest.importorskip("playwright.sync_api", reason="the tests of the page need Playwright")
pytest.importorskip("gradio", reason="the page needs Gradio: pip install 'zsseg_d2[page]'")

ROOT = Path(__file__).resolve().parents[2]
STREET = ROOT / "docs" / "street.png"
WAIT = 120_000  # milliseconds


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The program itself, as a visitor's host starts it."""
    chromium()  # skips before models are built
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("page")
    environment = {**os.environ, "ZSSEG_D2_CACHE": str(folder), "TMPDIR": str(folder), "GRADIO_SHARE": "True"}
    words = [sys.executable, str(ROOT / "tools" / "page.py"), "--port", str(port), "--device", "cpu"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder) as process:
        try:
            line = process.stdout.readline()
            assert line == f"The page is at http://127.0.0.1:{port}/ (Ctrl-C ends it).\n"
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()
            assert process.wait(60) == 143
    assert not list(folder.glob("zsseg_d2_page_*")), "uploads and results are gone"


@pytest.fixture(scope="module")
def browser(address):
    with sync_api.sync_playwright() as playwright:
        started = launch(playwright, chromium())
        yield started
        started.close()


@pytest.fixture
def foreign():
    """Addresses outside the page that the browser asked for."""
    return []


@pytest.fixture
def page(browser, address, foreign):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield opened(context, address, foreign)
    context.close()
    assert not foreign, "nothing is fetched from elsewhere"


def opened(context, address, foreign=None):
    page = context.new_page()
    page.set_default_timeout(WAIT)
    if foreign is not None:
        page.on("request", lambda r: r.url.startswith((address, "data:", "blob:")) or foreign.append(r.url))
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page.goto(address)
    page.wait_for_selector("#words-find")
    return page


def bring(page, tab: str, image) -> None:
    """Drop an image: a path, or a name and bytes."""
    given = {"name": image[0], "mimeType": "image/png", "buffer": image[1]} if isinstance(image, tuple) else image
    with page.expect_response(re.compile("/gradio_api/upload")):
        page.set_input_files(f"#{tab}-image input[type=file]", given)


def find(page, tab: str, text: str) -> None:
    page.fill(f"#{tab}-text textarea", text)
    page.click(f"#{tab}-find")


def labels(page, tab: str) -> list[str]:
    page.wait_for_selector(f"#{tab}-view .segments-view")
    return page.locator(f"#{tab}-view .label").all_inner_texts()


def told(page, sentence: str) -> None:
    sync_api.expect(page.locator(".toast-body").first).to_contain_text(sentence, timeout=WAIT)


def test_words_give_the_segments_of_the_predictor(page, tmp_path):
    words = "road, sky, building, car|cars|automobile, person"
    bring(page, "words", STREET)
    find(page, "words", words)
    listed = labels(page, "words")
    expected = zsseg_d2.Predictor(words=words, device="cpu")(STREET)
    assert listed == [s.label for s in expected.segments]
    scores = page.locator("#words-view .score").all_inner_texts()
    assert scores == [f"{s.score:.2f}" for s in expected.segments]
    with page.expect_download() as download:
        page.click("#words-json")
    content = json.loads(Path(download.value.path()).read_text())
    assert download.value.suggested_filename == "street.json" and content == expected.to_coco(rle=True)
    with page.expect_download() as download:
        page.click("#words-png")
    with Image.open(download.value.path()) as overlay:
        assert download.value.suggested_filename == "street_overlay.png"
        assert np.array_equal(np.asarray(overlay), np.asarray(expected.overlay()))


def veiled(page, x: float, y: float) -> bool:
    """Return whether the veil lies over a point of the image, given in parts of its width and height."""
    return page.evaluate(
        """([x, y]) => {
            const canvas = document.querySelector("#words-view canvas");
            const at = [Math.floor(x * canvas.width), Math.floor(y * canvas.height)];
            return canvas.width > 0 && canvas.getContext("2d").getImageData(...at, 1, 1).data[3] > 0;
        }""",
        [x, y],
    )


def test_hovering_and_clicking_single_a_segment_out(page):
    bring(page, "words", STREET)
    find(page, "words", "road, sky, building")
    assert labels(page, "words")[0] == "road"
    road, top = (0.5, 0.9), (0.5, 0.02)
    button = page.locator("#words-view button").first
    button.hover()
    assert not veiled(page, *road) and veiled(page, *top)
    page.mouse.move(5, 5)
    assert not veiled(page, *top), "it is over when the pointer leaves"
    box = page.locator("#words-view .drawn").bounding_box()
    page.mouse.click(box["x"] + road[0] * box["width"], box["y"] + road[1] * box["height"])
    page.mouse.move(5, 5)
    assert veiled(page, *top) and button.get_attribute("aria-pressed") == "true", "a click keeps it"
    page.keyboard.press("Escape")
    assert not veiled(page, *top) and button.get_attribute("aria-pressed") == "false"


def test_an_example_of_phrases(page):
    page.get_by_role("tab", name="Phrase").click()
    page.locator("#phrase-examples button img").first.click()
    typed = page.locator("#phrase-text textarea")
    listed = labels(page, "phrase")
    assert listed == typed.input_value().split("\n") and len(listed) == 2
    assert all(re.fullmatch(r"[01]\.\d\d|not found", s) for s in page.locator("#phrase-view .score").all_inner_texts())


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_image_is_refused_at_once(page, name):
    bring(page, "words", (name, BAD[name]))
    told(page, SENTENCES[name])
    assert page.evaluate("window.hacked") is None


def test_awkward_images_give_results(page):
    for name, content in GOOD.items():
        bring(page, "words", (name, content))
        find(page, "words", "road, sky")
        sync_api.expect(page.locator("#words-view .drawn")).to_have_attribute(
            "alt", re.compile(f"^{Path(name).stem} with"), timeout=WAIT
        )
        page.click("#words-image [aria-label='Clear'], #words-image [aria-label='Remove Image']")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("car, Car", "names a class twice: car and Car"),
        ("car (thing)|auto (stuff)", "marked both"),
        ("x<img src=x onerror=alert(1)>, x<img src=x onerror=alert(1)>", "names a class twice"),
        ("/etc/passwd, /etc/passwd", "names a class twice"),
    ],
)
def test_wrong_words_are_one_sentence(page, words, sentence):
    bring(page, "words", STREET)
    find(page, "words", words)
    told(page, sentence)
    assert "Traceback" not in page.inner_text("body")


def test_words_name_no_file(page, tmp_path):
    (tmp_path / "words.txt").write_text("a secret\n")
    bring(page, "words", STREET)
    find(page, "words", f"sky|{tmp_path / 'words.txt'}, road")
    assert labels(page, "words")[0] in ("road", "sky")
    find(page, "words", str(tmp_path / "words.txt"))
    page.wait_for_function("!document.querySelector('#words-view').innerText.includes('road')", timeout=WAIT)
    assert "secret" not in page.inner_text("#words-view")


def test_two_visitors_at_once_get_their_own_results(browser, address):
    contexts = [browser.new_context() for _ in range(2)]
    pages = [opened(context, address) for context in contexts]
    words = ("road|path, firmament|sky", "thoroughfare|road, heaven|sky")
    for page in pages:
        bring(page, "words", STREET)
    for page, text in zip(pages, words):
        find(page, "words", text)
    for page, names in zip(pages, ({"road", "firmament"}, {"thoroughfare", "heaven"})):
        assert set(labels(page, "words")) == names
    for context in contexts:
        context.close()
