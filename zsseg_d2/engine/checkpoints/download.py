"""Weights from the web: kept by their full address, and verified."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import urlsplit

import msgspec

from ...files import atomic_path, file_digest
from ...reading import UnusableFile, printable, read_json
from ..errors import CheckpointError

logger = logging.getLogger(__name__)

_SECONDS = 60  # that a server may be silent
_DIGEST = re.compile(r"sha256=([0-9a-fA-F]{64})")
_PAGES = ("text/html", "application/json", "application/xml", "text/xml")  # an error or a login page


class _Kept(msgspec.Struct):
    """What is recorded beside a file."""

    address: str
    size: int
    sha256: str


class _Target(NamedTuple):
    address: str  # without the fragment
    sha256: str | None
    file: Path

    @property
    def record(self) -> Path:
        return self.file.with_name(f"{self.file.name}.json")


def is_web_address(path: str) -> bool:
    """Return whether a path is an ``http://`` or ``https://`` address."""
    return path.lower().startswith(("http://", "https://"))


def download(address: str) -> Path:
    """Return the local copy of a file; fetch it if there is none, or if it is not what was fetched.

    Args:
        address: full address. ``#sha256=<64 hex digits>`` at its end is compared with the content.

    Raises:
        CheckpointError: the file cannot be fetched, or is not what the address or its server says.
    """
    target = _target(address)
    if _is_kept(target):
        return target.file
    target.file.parent.mkdir(parents=True, exist_ok=True)
    logger.info("Fetching %s", printable(target.address))
    try:
        with atomic_path(target.file) as temporary:
            kept = _fetch(target, temporary)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise CheckpointError(
            f"The weights '{printable(target.address)}' could not be fetched ({type(error).__name__}: "
            f"{printable(error)}). Fix: download them on a machine with a network and name the local file."
        ) from error
    with atomic_path(target.record) as temporary:
        temporary.write_bytes(msgspec.json.encode(kept))
    return target.file


def _target(address: str) -> _Target:
    base, _, fragment = address.partition("#")
    digest = _DIGEST.fullmatch(fragment)
    if fragment and digest is None:
        raise CheckpointError(f"{printable(address)}: after '#' must stand sha256= and 64 hexadecimal digits.")
    cache = os.environ.get("ZSSEG_D2_CACHE") or Path.home() / ".cache" / "zsseg_d2"
    name = re.sub(r"[^\w.-]", "_", Path(urlsplit(base).path).name) or "weights"
    folder = Path(cache).expanduser() / "downloads" / hashlib.sha256(base.encode()).hexdigest()[:32]
    return _Target(base, digest[1].lower() if digest else None, folder / name)


def _is_kept(target: _Target) -> bool:
    """Return whether the local copy is what was fetched; else say why it is fetched again."""
    try:
        kept = read_json(target.record, _Kept, limit=10_000)
        size = target.file.stat().st_size
    except FileNotFoundError:
        return False
    except UnusableFile as error:
        logger.warning("%s It is fetched again.", error)
        return False
    if size == kept.size and file_digest(target.file) == kept.sha256 and target.sha256 in (None, kept.sha256):
        return True
    logger.warning("%s is not what was fetched, and is fetched again.", target.file)
    return False


def _fetch(target: _Target, file: Path) -> _Kept:
    request = urllib.request.Request(target.address, headers={"User-Agent": "zsseg_d2"})
    with urllib.request.urlopen(request, timeout=_SECONDS) as response, open(file, "wb") as output:
        kind = response.headers.get_content_type() if response.headers.get("Content-Type") else ""
        if kind in _PAGES:
            raise CheckpointError(
                f"'{printable(target.address)}' is a page ({kind}), not a file of weights. Fix: give the address of "
                "the file itself, or download it and name the local file."
            )
        announced = response.headers.get("Content-Length")
        kept = _Kept(target.address, *_copy(response, output))
    if announced is not None and announced.isdigit() and int(announced) != kept.size:
        raise CheckpointError(
            f"'{printable(target.address)}' ended after {kept.size:,} of {int(announced):,} bytes. Fix: try again."
        )
    if target.sha256 not in (None, kept.sha256):
        raise CheckpointError(
            f"'{printable(target.address)}' has the SHA-256 {kept.sha256}, not {target.sha256}. Fix: check the address "
            "and the digest."
        )
    return kept


def _copy(source: IO[bytes], output: IO[bytes]) -> tuple[int, str]:
    """Copy a file; return its size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    while block := source.read(1 << 20):
        output.write(block)
        digest.update(block)
        size += len(block)
    return size, digest.hexdigest()
