"""The model libraries, whose import takes most of the time until a model is open."""

from __future__ import annotations

import gc
from functools import cache


@cache
def import_libraries() -> None:
    """Imports them, with what they import themselves: thousands of modules.

    Python's collector would walk all that is there again and again meanwhile, for a fifth of the time, and find
    nothing: modules stay. So it waits, and leaves them out ever after, which makes its later rounds short too.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        import sae_lens  # noqa: F401
        import transformer_lens.model_bridge  # noqa: F401

        gc.freeze()
    finally:
        if collecting:
            gc.enable()
