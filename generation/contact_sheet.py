"""Contact sheets: rows of small pictures under a title, as one PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mema.files import atomic_write
from mema.imageset import encode_png

LABEL_WIDTH, TITLE_HEIGHT = 150, 28
COLUMNS = 8


def write_contact_sheet(
    path: Path, title: str, rows: Mapping[str, Sequence[np.ndarray]], *, columns: int = COLUMNS, side: int = 128
) -> Path:
    """Write a PNG with one labelled row of up to ``columns`` pictures, uint8 (H, W, 3), for each entry of ``rows``."""
    sheet = Image.new("RGB", (LABEL_WIDTH + columns * side, TITLE_HEIGHT + len(rows) * side), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((8, 6), title, fill="black", font=ImageFont.load_default(14))
    for number, (label, images) in enumerate(rows.items()):
        top = TITLE_HEIGHT + number * side
        draw.multiline_text((8, top + 8), label.replace(" ", "\n"), fill="black", font=ImageFont.load_default(13))
        for column, image in enumerate(images[:columns]):
            sheet.paste(Image.fromarray(image).resize((side, side)), (LABEL_WIDTH + column * side, top))
    return atomic_write(path, encode_png(np.asarray(sheet)))
