"""The image of a task: from the folder that our Label Studio serves, or from that server; from nowhere else."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
from PIL import Image, UnidentifiedImageError

from curation.labelstudio.access import Access, explained
from mema.errors import UserError

LOCAL = "/data/local-files/"
SERVED = "/data/"
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 50_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")


def fetch(address: Any, access: Access, client: httpx.Client) -> bytes:
    """Return the bytes of the image that a task names; UserError when it is not one of the server's, or too large.

    ``address`` comes with a request and is not believed: another host, a path out of the served folder and a redirect
    are refused.
    """
    if not isinstance(address, str) or len(address) > 2000:
        raise UserError("the task names no image")
    try:
        parts = urlsplit(address)
    except ValueError:
        raise UserError("the task names no image") from None
    origin = urlsplit(access.url)
    if (parts.scheme or parts.netloc) and (parts.scheme, parts.netloc) != (origin.scheme, origin.netloc):
        raise UserError(f"the image is not one of {access.url}")
    if access.files is not None and parts.path == LOCAL:
        root = access.files.resolve()
        path = (root / parse_qs(parts.query).get("d", [""])[0]).resolve()
        if not path.is_relative_to(root) or not path.is_file():
            raise UserError("the image is not in the folder that Label Studio serves")
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"the image has more than {MAX_BYTES:,} bytes")
        return path.read_bytes()
    if not parts.path.startswith(SERVED):
        raise UserError(f"the image is not one of {access.url}")
    data = bytearray()
    path_and_query = parts._replace(scheme="", netloc="").geturl()
    with explained(access), client.stream("GET", path_and_query, follow_redirects=False) as answer:
        if answer.is_redirect:
            raise UserError(f"{access.url}: the image lies elsewhere, where this server does not follow")
        answer.raise_for_status()
        for part in answer.iter_bytes():
            data += part
            if len(data) > MAX_BYTES:
                raise UserError(f"the image has more than {MAX_BYTES:,} bytes")
    return bytes(data)


def decode(data: bytes) -> np.ndarray:
    """Return an image as uint8 RGB (H, W, 3); UserError when it is none or too large."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UserError(f"the image is {image.width} x {image.height}: more than {MAX_PIXELS:,} pixels")
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise UserError("the task's image cannot be read") from None
