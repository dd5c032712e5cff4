"""The page itself, made of tabs, and its web server (Gradio)."""

from __future__ import annotations

import html
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData
from PIL import Image
from starlette.middleware import Middleware

from ..data.images.opening import opened_image
from ..engine.errors import ConfigError, explanation
from ..files import atomic_path
from .found import Found
from .guard import Guard
from .storage import Storage, without_folder
from .tabs import Tab
from .view import SCRIPT, STYLE, view_html

logger = logging.getLogger(__name__)

MOST_WAITING = 20
"""Requests that wait for the model; further ones are refused."""
KEEP_SECONDS = 3600
"""Age at which uploads and results are removed."""

_HOME = frozenset(("127.0.0.1", "localhost", "::1"))
_TITLE = "Open-vocabulary segmentation"
_BUG = "Something went wrong here; the terminal in which the page was started says more."
_WELCOME = "<p>Drop an image and type, or click an example. What is found appears here.</p>"
_NO_IMAGE = "There is no image. Fix: drop one on the left, or click an example."
_FAST_PNG = 1  # zlib's level: a tenth of the time of the default, and a little larger


def launch(tabs: Sequence[Tab], storage: Storage, *, host: str, port: int | None, upload_limit: int) -> gr.Blocks:
    """Start the web server in a thread of its own.

    Args:
        tabs: in the order in which they are shown.
        storage: for uploads, results and examples; the environment variable GRADIO_TEMP_DIR names its folder.
        host: name or address to listen on.
        port: None: the first free one from 7860.
        upload_limit: bytes of an image file.

    Returns:
        What runs; ``local_url`` is its address, and ``close()`` ends it.

    Raises:
        ConfigError: the port is in use, or the address is not of this machine.
    """
    blocks = build(tabs, storage)
    storage.keep_present()
    hosts = _HOME if host in _HOME else None
    guard = Middleware(Guard, storage=storage, upload_limit=upload_limit, hosts=hosts)
    try:
        blocks.launch(
            server_name=host,
            server_port=port,
            share=False,
            inbrowser=False,
            prevent_thread_lock=True,
            quiet=True,
            show_error=False,
            max_file_size=upload_limit,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            run_history=False,
            footer_links=[],
            app_kwargs={"middleware": [guard], "docs_url": None, "redoc_url": None, "openapi_url": None},
            theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
            css=STYLE,
            head=f"<script>{SCRIPT}</script>",
        )
    except OSError as error:
        asked = "" if port is None else f" --port {port}"
        raise ConfigError(
            f"--host {host}{asked}: the page cannot listen there ({error}). Fix: name another."
        ) from error
    return blocks


def build(tabs: Sequence[Tab], storage: Storage) -> gr.Blocks:
    """Build the page; see :func:`launch`."""
    with gr.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=(60, KEEP_SECONDS)) as blocks:
        gr.Markdown(f"# {_TITLE}")
        with gr.Tabs():
            for tab in tabs:
                with gr.Tab(tab.title, id=tab.name, elem_id=f"tab-{tab.name}"):
                    _add(tab, storage)
    blocks.queue(max_size=MOST_WAITING, default_concurrency_limit=1, api_open=False)
    return blocks


def _add(tab: Tab, storage: Storage) -> None:
    """Add the parts of a tab, named after it, and what they do."""
    examples = [(_saved(storage, e.image, f"example_{k}.png"), e.text) for k, e in enumerate(tab.examples(), start=1)]
    gr.Markdown(tab.about)
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            picture = gr.Image(
                label="Image", type="filepath", sources=["upload", "clipboard"], elem_id=f"{tab.name}-image", height=280
            )
            picture.preprocess = _uploaded  # Gradio's own would decode the image without a limit
            text = gr.Textbox(
                label=tab.box.label,
                placeholder=tab.box.placeholder,
                info=tab.box.help,
                max_length=tab.box.most,
                lines=3,
                max_lines=8,
                elem_id=f"{tab.name}-text",
            )
            button = gr.Button("Find", variant="primary", elem_id=f"{tab.name}-find")
            gallery = gr.Gallery(
                [(str(path), typed.replace("\n", " · ")) for path, typed in examples],
                label="Examples",
                columns=3,
                rows=1,
                height=130,
                allow_preview=False,
                interactive=False,
                buttons=[],
                elem_id=f"{tab.name}-examples",
            )
        with gr.Column(scale=5, min_width=320):
            view = gr.HTML(_WELCOME, elem_id=f"{tab.name}-view")
            with gr.Row():
                png = gr.DownloadButton("Overlay (PNG)", interactive=False, elem_id=f"{tab.name}-png")
                content = gr.DownloadButton("Segments (JSON)", interactive=False, elem_id=f"{tab.name}-json")

    def chosen(event: gr.SelectData) -> tuple[str, str]:
        path, typed = examples[event.index]
        return str(path), typed

    # Models compute one after the other; the small steps around them wait for no model.
    work = {"fn": _finder(tab, storage), "inputs": [picture, text], "outputs": [view, png, content]}
    on_model: dict[str, Any] = {**work, "concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}
    small: dict[str, Any] = {"concurrency_limit": 4, "api_visibility": "private"}
    button.click(**on_model)
    gallery.select(chosen, None, [picture, text], **small).then(**on_model)
    picture.upload(_checker(tab.max_pixels), picture, None, **small).failure(lambda: None, None, picture, **small)


def _uploaded(payload: ImageData | None) -> str | None:
    """Return the path of an upload; the guard has checked that it is one."""
    return None if payload is None else payload.path


def _checker(max_pixels: int) -> Callable[[str | None], None]:
    def check(image: str | None) -> None:
        """Tell at once what is wrong with an image, before words are typed."""
        if image is None:
            return
        with _one_sentence(Path(image)), opened_image(image, max_pixels=max_pixels):
            pass

    return check


def _finder(tab: Tab, storage: Storage) -> Callable[[str | None, str | None], tuple[str, Any, Any]]:
    def find(image: str | None, text: str | None) -> tuple[str, Any, Any]:
        if image is None:
            raise gr.Error(_NO_IMAGE, print_exception=False)
        path, typed = Path(image), text or ""
        with _one_sentence(path):
            if len(typed) > tab.box.most:
                raise ConfigError(f"The text has {len(typed):,} characters. Fix: give at most {tab.box.most:,}.")
            found = tab.find(path, typed)
            files = _downloads(found, storage)
        return view_html(found), *(gr.DownloadButton(value=str(file), interactive=True) for file in files)

    return find


def _downloads(found: Found, storage: Storage) -> tuple[Path, Path]:
    """Write the overlay and the JSON of a result."""
    overlay = found.overlay()
    storage.make_room(3 * overlay.width * overlay.height)
    png = storage.new_file(f"{found.name}_overlay.png")
    with atomic_path(png) as temporary:
        overlay.save(temporary, "PNG", compress_level=_FAST_PNG)
    content = storage.new_file(f"{found.name}.json")
    with atomic_path(content) as temporary:
        temporary.write_text(json.dumps(found.content), encoding="utf-8")
    return png, content


def _saved(storage: Storage, image: Any, name: str) -> Path:
    path = storage.new_file(name)
    Image.fromarray(image).save(path)
    return path


@contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    """Show the visitor one sentence where something fails; a bug goes to the log.

    Raises:
        gr.Error: the sentence, without the folder of the image, and safe to be shown as HTML.
    """
    try:
        yield
    except Exception as error:
        sentence = explanation(error)
        if sentence is None:
            logger.exception("The page could not answer a request.")
        shown = _BUG if sentence is None else without_folder(sentence, path)
        raise gr.Error(html.escape(shown), print_exception=False) from error
