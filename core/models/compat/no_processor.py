"""Opens a model that reads more than text, such as Gemma 3 from 4b on, for its text alone.

For such a model ``TransformerBridge.boot_transformers`` also opens the processor of images. Where that fails it runs
``pip install torchvision`` in the current environment, which can replace torch. Seen in transformer-lens 3.9.0; no
upstream issue is known to us. That the processor needs torchvision at all, even for text, is
https://github.com/huggingface/transformers/issues/48558 and
https://github.com/huggingface/transformers/issues/45042.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def without_processor() -> Iterator[None]:
    """Within it transformers returns no processor, so that nothing is installed for one. For one thread at a time."""
    from transformers import AutoProcessor

    # Not the method that getattr binds: it has to go back as what it was.
    before: Any = AutoProcessor.__dict__["from_pretrained"]
    AutoProcessor.from_pretrained = staticmethod(lambda *_, **__: None)
    try:
        yield
    finally:
        AutoProcessor.from_pretrained = before
