"""The web server of the page: what it answers, what it refuses, and that nothing of the machine is readable."""

from __future__ import annotations

import html
import json
import socket

import psutil
import pytest

from zsseg_d2.cli.page import parse_arguments

from .images import BAD, GOOD, SENTENCES, plain
from .stub import StubTab, Visitor, file_data, launched

pytest.importorskip("gradio", reason="the page needs Gradio: pip install 'zsseg_d2[page]'")


@pytest.fixture(scope="module")
def tab():
    return StubTab()


@pytest.fixture(scope="module")
def site(tmp_path_factory, tab):
    with pytest.MonkeyPatch.context() as patch, launched(patch, tmp_path_factory.mktemp("page"), tab) as started:
        yield started


@pytest.fixture
def visitor(site):
    return Visitor(site[0])


@pytest.fixture
def path(visitor):
    return visitor.upload("street.png", plain()).json()[0]


def test_an_image_and_a_text_give_a_view_and_downloads(visitor, path):
    view, png, content = visitor.ask(path, "left half")["data"]
    assert 'class="label">left half<' in view and "50.0 %" in view
    names = [update["value"]["orig_name"] for update in (png, content)]
    assert names == ["street_overlay.png", "street.json"]
    served = visitor.client.get("/gradio_api/file=" + content["value"]["path"])
    assert json.loads(served.content) == {"typed": "left half"}


def test_two_visitors_get_their_own_results(site, visitor, path, tab):
    other = Visitor(site[0])
    theirs = other.upload("other.png", plain(30, 30)).json()[0]
    tab.wait.clear()
    visitor.find(path, "mine").raise_for_status()
    other.find(theirs, "theirs").raise_for_status()
    tab.wait.set()
    assert ">mine<" in visitor.outcome()["data"][0] and ">theirs<" in other.outcome()["data"][0]


def test_what_visitors_type_is_shown_as_text(visitor, path):
    typed = "<img src=x onerror=hack()>${1+1}{{x}}"
    view = visitor.ask(path, typed)["data"][0]
    assert html.escape(typed) in view and "<img src=x" not in view


@pytest.mark.parametrize("name", GOOD)
def test_images_of_every_mode(visitor, name):
    (path,) = visitor.upload(name, GOOD[name]).json()
    assert ">x<" in visitor.ask(path, "x")["data"][0]


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_usable_image_is_one_sentence_without_a_folder(visitor, name, site):
    (path,) = visitor.upload(name, BAD[name]).json()
    for part, event, data in (
        ("stub-find", "click", [file_data(path), "x"]),
        ("stub-image", "upload", [file_data(path)]),
    ):
        visitor.join(visitor.number(part, event), data).raise_for_status()
        told = visitor.outcome()["error"]
        assert SENTENCES[name] in told and name in told, told
        assert "Traceback" not in told and "\n" not in told and str(site[1].root) not in told


def test_mistakes_and_bugs_show_one_sentence(visitor, path, caplog):
    told = visitor.ask(path, "mistake")["error"]
    assert told == "street.png: &lt;b&gt;this&lt;/b&gt; does not work. Fix: type something else."
    told = visitor.ask(path, "bug")["error"]
    assert "secret" not in told and "Something went wrong" in told
    assert "ZeroDivisionError" in caplog.text, "the terminal says what it was"
    assert "at most 100" in visitor.ask(path, "x" * 101)["error"]
    visitor.join(visitor.number("stub-find", "click"), [None, "x"]).raise_for_status()
    assert visitor.outcome()["error"].startswith("There is no image.")


@pytest.mark.parametrize(
    "route",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../../../etc/passwd",
        "/gradio_api/file=FOLDER/../../../../../../../../etc/passwd",
        "/gradio_api/file=FOLDER/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/gradio_api/file=FOLDER/link",
        "/gradio_api/file=FOLDER",
        "/gradio_api/file=http://127.0.0.1:1/",
        "/gradio_api/file=file:///etc/passwd",
        "/gradio_api/file=%00",
        "/gradio_api/file//etc/passwd",
        "/file=/etc/passwd",
        "/gradio_api/proxy=https://example.com/",
        "/static/../../../../../../../../etc/passwd",
        "/assets/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/gradio_api/stream/a/b/1/playlist.m3u8",
        "/monitoring",
        "/gradio_api/runs",
        "/gradio_api/openapi.json",
        "/docs",
    ],
)
def test_no_file_of_the_machine_is_readable(site, route):
    address, storage = site
    if not (storage.root / "link").is_symlink():
        (storage.root / "link").symlink_to("/etc/passwd")
    answer = raw(address, "GET", route.replace("FOLDER", str(storage.root)))
    assert answer.split(b" ")[1] in (b"400", b"403", b"404"), answer[:200]
    assert b"root:" not in answer


def raw(address: str, method: str, target: str, headers: str = "", body: bytes = b"") -> bytes:
    """Send a request as it is; clients tidy paths up."""
    host, _, port = address.removeprefix("http://").partition(":")
    default = "" if "host:" in headers.lower() else f"Host: {host}:{port}\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(f"{method} {target} HTTP/1.1\r\n{default}{headers}Connection: close\r\n\r\n".encode() + body)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    "named",
    [
        file_data("/etc/passwd"),
        file_data("/etc/passwd", url="/gradio_api/file=/etc/passwd"),
        file_data("http://127.0.0.1:1/secret.png"),
        file_data(7),
        {"path": "/etc/passwd"},
        [{"deep": file_data("/etc/passwd")}],
    ],
)
def test_a_request_names_uploads_only(visitor, named):
    for data in ([named, "x"], [None, named]):
        answer = visitor.join(visitor.number("stub-find", "click"), data)
        assert answer.status_code == 400 and answer.text == "This request names a file that nobody uploaded."


def test_images_inside_a_request_are_not_decoded(visitor, path):
    """Gradio would decode ``url``, without a limit."""
    data = file_data(path, url="data:image/png;base64,AAAA")
    visitor.join(visitor.number("stub-find", "click"), [data, "x"]).raise_for_status()
    assert ">x<" in visitor.outcome()["data"][0]


def test_other_routes_of_gradio_compute_nothing(visitor):
    for route in ("run/predict", "call/find", "api/predict", "component_server", "call/v2/find"):
        assert visitor.client.post(f"/gradio_api/{route}", json={"data": []}).status_code == 404
    assert visitor.client.put("/gradio_api/upload").status_code == 404


def test_uploads_have_a_limit_of_bytes(site, visitor):
    assert visitor.upload("large.png", bytes(100_001)).status_code == 413
    answer = visitor.upload("huge.png", bytes(400_000))
    assert answer.status_code == 413 and "at most 0.0953674 MB" in answer.text
    assert visitor.join(0, ["x" * 2**21]).status_code == 413
    chunked = raw(site[0], "POST", "/gradio_api/upload", "Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n")
    assert chunked.startswith(b"HTTP/1.1 411")


def test_a_foreign_name_of_this_machine_is_refused(site):
    """A site whose name is pointed at 127.0.0.1 would otherwise read the page in the visitor's browser."""
    answer = raw(site[0], "GET", "/config", "Host: evil.example\r\n")
    assert answer.startswith(b"HTTP/1.1 403") and b"components" not in answer
    assert raw(site[0], "GET", "/config", "Host: localhost:1\r\n").startswith(b"HTTP/1.1 200")


def test_nothing_may_come_from_elsewhere(visitor):
    rules = visitor.client.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in rules and "http" not in rules
    assert visitor.config["analytics_enabled"] is False


def test_the_queue_has_a_bound(tmp_path, monkeypatch):
    from zsseg_d2.page import site as module

    monkeypatch.setattr(module, "MOST_WAITING", 2)
    tab = StubTab()
    tab.wait.clear()
    with launched(monkeypatch, tmp_path, tab) as (address, _):
        visitors = [Visitor(address) for _ in range(6)]
        path = visitors[0].upload("a.png", plain()).json()[0]
        answers = [v.find(path, str(k)) for k, v in enumerate(visitors)]
        refused = [a for a in answers if a.status_code != 200]
        assert 2 <= len(refused) <= 4 and all("Queue is full" in a.text for a in refused)
        tab.wait.set()
        for k, (visitor, answer) in enumerate(zip(visitors, answers)):
            assert answer.status_code != 200 or f">{k}<" in visitor.outcome()["data"][0]


def test_the_disk_has_a_bound_and_examples_stay(tmp_path, monkeypatch):
    with launched(monkeypatch, tmp_path, StubTab(), limit=250_000) as (address, storage):
        kept = [p for p in storage.root.rglob("*") if p.is_file()]
        assert any(p.name == "example_1.png" for p in kept)
        visitor = Visitor(address)
        paths = [visitor.upload(f"{k}.png", bytes([k]) * 90_000).json()[0] for k in range(8)]
        there = [p for p in storage.root.rglob("*") if p.is_file() and p not in kept]
        assert sum(p.stat().st_size for p in there) <= 250_000 and paths[-1] in map(str, there)
        assert paths[0] not in map(str, there) and all(p.is_file() for p in kept)


def test_a_port_that_is_taken_is_told(tmp_path, monkeypatch, site):
    from zsseg_d2.engine import ConfigError

    with (
        pytest.raises(ConfigError, match=r"^--host 127.0.0.1 --port \d+: the page cannot listen there .* Fix: "),
        launched(monkeypatch, tmp_path, StubTab(), port=int(site[0].rpartition(":")[2])),
    ):
        pass


def listening(address: str) -> set[str]:
    """Return the addresses on which this machine listens at the port of the page."""
    port = int(address.rpartition(":")[2])
    found = psutil.net_connections("tcp")
    return {c.laddr.ip for c in found if c.status == psutil.CONN_LISTEN and c.laddr.port == port}


def test_it_listens_on_this_machine_only(site):
    assert listening(site[0]) == {"127.0.0.1"}


def test_it_listens_elsewhere_if_told_so(tmp_path, monkeypatch):
    """Other machines know this one by names that it does not know itself."""
    with launched(monkeypatch, tmp_path, StubTab(), host="0.0.0.0") as (address, _):
        assert listening(address) == {"0.0.0.0"}
        answer = raw(address, "GET", "/config", "Host: this-machine.example:7860\r\n")
        assert answer.startswith(b"HTTP/1.1 200") and b"components" in answer


def test_the_address_of_the_command_line_reaches_the_server(monkeypatch):
    from zsseg_d2.engine import ConfigError
    from zsseg_d2.page import program
    from zsseg_d2.page import site as module

    given = {}

    def spy(*_, **more):
        given.update(more)
        raise ConfigError("seen")

    monkeypatch.setattr(module, "launch", spy)
    for name in ("build_tabs", "remove_orphans", "_prepare_gradio"):
        monkeypatch.setattr(program, name, lambda *_: [])
    monkeypatch.setattr(program.signal, "signal", lambda *_: None)
    with pytest.raises(ConfigError, match="seen"):
        program.run_page(parse_arguments(["--host", "0.0.0.0", "--port", "7999", "--max-upload", "2"], "page"))
    assert given == {"host": "0.0.0.0", "port": 7999, "upload_limit": 2 * 2**20}
