"""Weights from the web: two addresses are two files, and what is broken is fetched again."""

from __future__ import annotations

import hashlib
import http.server
import os
import threading
from pathlib import Path

import pytest
from detectron2.config import get_cfg

from zsseg_d2 import add_zsseg_config
from zsseg_d2.engine.checkpoints.sources import local_weights
from zsseg_d2.engine.errors import CheckpointError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
GOOD, OTHER = b"weights " * 1000, b"others! " * 1000


@pytest.fixture
def serve():
    """``serve(body, **headers)`` -> address of ``model/w.pth`` on a host of its own, and a list of its requests."""
    servers = []

    def start(body: bytes, **headers: str):
        requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                requests.append(self.path)
                self.send_response(200)
                for name, value in {"Content_Length": str(len(body)), **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/model/w.pth", requests

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def read(address: str) -> bytes:
    with open(local_weights(address), "rb") as file:
        return file.read()


def test_a_file_is_kept_by_its_full_address(serve):
    (one, first), (two, second) = serve(GOOD), serve(OTHER)
    assert [read(a) for a in (one, two, one, two, f"{one}?v=2")] == [GOOD, OTHER, GOOD, OTHER, GOOD]
    assert len(first) == 2 and len(second) == 1 and local_weights(one).endswith("w.pth")


@pytest.mark.parametrize("damage", [b"", GOOD[:-1], GOOD[:-1] + b"!", GOOD + b"more"])
def test_a_broken_copy_is_fetched_again(serve, damage, caplog):
    address, requests = serve(GOOD)
    with open(local_weights(address), "wb") as file:
        file.write(damage)
    assert read(address) == GOOD and len(requests) == 2 and "fetched again" in caplog.text


def test_a_copy_without_its_record_is_fetched_again(serve):
    address, requests = serve(GOOD)
    record = f"{local_weights(address)}.json"
    with open(record, "w") as file:
        file.write("{")
    assert read(address) == GOOD and len(requests) == 2
    os.unlink(record)
    assert read(address) == GOOD and len(requests) == 3


def test_a_digest_in_the_address_is_compared(serve):
    address, requests = serve(GOOD)
    assert read(f"{address}#sha256={hashlib.sha256(GOOD).hexdigest()}") == GOOD
    assert read(address) == GOOD and len(requests) == 1
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"MODEL\.WEIGHTS: .* has the SHA-256 .*Fix: "):
            local_weights(f"{address}#sha256={'0' * 64}")
    assert read(address) == GOOD, "the good copy stays"
    with pytest.raises(CheckpointError, match="64 hexadecimal digits"):
        local_weights(f"{address}#md5=1")


def test_what_is_cut_off_or_a_page_is_refused(serve):
    short, _ = serve(GOOD, Content_Length=str(len(GOOD) + 5))
    page, _ = serve(b"<html>Sign in</html>", Content_Type="text/html; charset=utf-8")
    for address, told in ((short, "ended after 8,000 of 8,005 bytes"), (page, r"is a page \(text/html\)")):
        for _ in range(2):
            with pytest.raises(CheckpointError, match=told):
                local_weights(address)


def test_a_server_that_does_not_answer_names_the_key():
    with pytest.raises(CheckpointError, match=r"ZSSEG\.X: .* could not be fetched .*Fix: download them"):
        local_weights("http://127.0.0.1:9/w.pth", "ZSSEG.X")


def test_references_that_were_not_resolved_are_told():
    """A config that Detectron2 merges by itself keeps ``${…}``."""
    cfg = get_cfg()
    add_zsseg_config(cfg)
    cfg.merge_from_file(str(CONFIGS / "minicity" / "zero_shot.yaml"))
    with pytest.raises(CheckpointError, match="merged without its references. Fix: .*setup_cfg"):
        local_weights(cfg.MODEL.WEIGHTS)
