"""What a Xet store answers, as far as hf_xet asks for it when it fetches a file.

A file is cut into chunks; chunks lie one behind the other in a xorb, each behind a header of eight bytes. The store
says which chunks of which xorb make up the bytes that are asked for, and under which address and range they lie.
Here each file is one xorb of chunks of one size, not compressed.

Protocol: https://huggingface.co/docs/xet/index
"""

from __future__ import annotations

import hashlib
from typing import Any

CHUNK = 1 << 14


def xet_hash(content: bytes) -> str:
    """A name for a file, and for its xorb. Nothing that is fetched is compared with it."""
    return hashlib.sha256(b"xet" + content).hexdigest()


def xorb(content: bytes) -> bytes:
    """The chunks of a file, each behind version, size as stored, way of compression (none) and size."""
    parts = []
    for start in range(0, len(content), CHUNK):
        chunk = content[start : start + CHUNK]
        size = len(chunk).to_bytes(3, "little")
        parts.append(b"\0" + size + b"\0" + size + chunk)
    return b"".join(parts)


def reconstruction(content: bytes, first: int, last: int, url: str) -> dict[str, Any]:
    """What the bytes `first` to `last` are made of; `url` is where the xorb lies."""
    start, stop = first // CHUNK, last // CHUNK + 1
    size = min(stop * CHUNK, len(content)) - start * CHUNK
    name, chunks = xet_hash(content), {"start": start, "end": stop}
    stored = {"start": start * (CHUNK + 8), "end": start * (CHUNK + 8) + size + 8 * (stop - start) - 1}
    return {
        "offset_into_first_range": first - start * CHUNK,
        "terms": [{"hash": name, "unpacked_length": size, "range": chunks}],
        "fetch_info": {name: [{"range": chunks, "url": url, "url_range": stored}]},
    }
