"""A tab without a model, and a visitor without a browser."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np

from zsseg_d2.data.images.reading import read_rgb
from zsseg_d2.engine import ConfigError
from zsseg_d2.evaluation.panoptic.overlay import draw_overlay
from zsseg_d2.page.found import Found, Mark
from zsseg_d2.page.tabs import Example, TextBox


class StubTab:
    """Finds one segment, the left half, and calls it what the visitor typed."""

    name, title, about, max_pixels = "stub", "Stub", "No model.", 1_000_000
    box = TextBox(label="Text", placeholder="", help="Anything.", most=100)

    def __init__(self) -> None:
        self.wait = threading.Event()
        self.wait.set()

    def examples(self):
        return [Example(np.zeros((40, 50, 3), np.uint8), "an example")]

    def find(self, image: Path, text: str) -> Found:
        pixels = read_rgb(image, self.max_pixels)
        self.wait.wait(60)
        if text == "bug":
            raise ZeroDivisionError("a secret of the server")
        if text == "mistake":
            raise ConfigError(f"{image}: <b>this</b> does not work. Fix: type something else.")
        codes = np.zeros(pixels.shape[:2], np.int32)
        codes[:, : max(1, pixels.shape[1] // 2)] = 1
        marks = (Mark(text, 0.5, 0.5, "", (255, 0, 0), 0xFFFFFF, 1),)
        view = draw_overlay(pixels, codes, []).crop((0, 0, pixels.shape[1], pixels.shape[0]))
        return Found(image.stem, view, codes, marks, lambda: view, {"typed": text})


class Visitor:
    """Talks to the page as its scripts do."""

    def __init__(self, address: str) -> None:
        self.client = httpx.Client(base_url=address, timeout=30)
        self.session = ""
        self.config = self.client.get("/config").json()
        self.parts = {c["props"].get("elem_id"): c["id"] for c in self.config["components"]}

    def upload(self, name: str, content: bytes) -> httpx.Response:
        return self.client.post("/gradio_api/upload", files={"files": (name, content)})

    def number(self, part: str, event: str) -> int:
        """Return the number of the function behind an event of a part."""
        wanted = [self.parts[part], event]
        (found,) = (d["id"] for d in self.config["dependencies"] if wanted in [list(t) for t in d["targets"]])
        return found

    def join(self, number: int, data: list) -> httpx.Response:
        self.session = uuid.uuid4().hex  # the page forgets a session whose stream of messages was closed
        body = {"data": data, "fn_index": number, "session_hash": self.session, "event_data": None, "trigger_id": None}
        return self.client.post("/gradio_api/queue/join", json=body)

    def find(self, path: str, text: str) -> httpx.Response:
        return self.join(self.number("stub-find", "click"), [file_data(path), text])

    def outcome(self) -> dict:
        """Wait until what was joined is done, and return its "output"; a mistake is in its "error"."""
        with self.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as lines:
            for message in messages(lines):
                if message["msg"] == "process_completed":
                    return message["output"]
        raise AssertionError("the page ended without an answer")

    def ask(self, path: str, text: str) -> dict:
        self.find(path, text).raise_for_status()
        return self.outcome()


def messages(lines: httpx.Response) -> Iterator[dict]:
    for line in lines.iter_lines():
        if line.startswith("data:"):
            yield json.loads(line.removeprefix("data:"))


def file_data(path: str, **more: object) -> dict:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


@contextmanager
def launched(monkeypatch, folder: Path, tab: StubTab, **options):
    """Start the page in this process; yield its address and its storage."""
    from zsseg_d2.page import program
    from zsseg_d2.page.storage import Storage

    files = folder / "files"
    files.mkdir()
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "")  # so that they are restored
    program._prepare_gradio(files)
    from zsseg_d2.page.site import launch

    storage = Storage(files, limit=options.pop("limit", 10**9))
    site = launch([tab], storage, **{"host": "127.0.0.1", "port": None, "upload_limit": 100_000, **options})
    try:
        yield site.local_url.rstrip("/"), storage
    finally:
        tab.wait.set()
        site.close(verbose=False)
