"""Opening what can do more than text, such as Gemma 3 from 4b on, for its text alone.

For such a model TransformerBridge also opens the processor of images. Where that cannot be opened it installs
torchvision with pip, and with it another torch, into the environment that runs. No processor is needed here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def without_processor() -> Iterator[None]:
    """Within it transformers gives no processor, and nobody installs what one would need. For one thread at a time."""
    from transformers import AutoProcessor

    # Not the method that getattr binds: it has to go back as what it was.
    before: Any = AutoProcessor.__dict__["from_pretrained"]
    AutoProcessor.from_pretrained = staticmethod(lambda *_, **__: None)
    try:
        yield
    finally:
        AutoProcessor.from_pretrained = before
