"""Attachments and pictures that are small, and huge once they are unpacked: gzip in SVG, a PNG of a trillion pixels."""

import base64
import gzip
import struct
import zlib


def png(width, height):
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0" * 10**7))]
    body = b"".join(
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in [*parts, (b"IEND", b"")]
    )
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()


def damage(notebook):
    packed = base64.b64encode(gzip.compress(b"<svg>" + b" " * 10**8)).decode()
    parts = {"image/svg+xml": packed, "image/png": png(10**6, 10**6), "application/zip": packed}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": parts}]
    notebook["cells"].append(
        {"cell_type": "markdown", "id": "own-1", "metadata": {}, "attachments": {"x.png": parts, "x.svg": parts},
         "source": "![a](attachment:x.png) ![b](attachment:x.svg)"}
    )  # fmt: skip
    return notebook
