"""Imports the model libraries without Python's garbage collector, which would take a fifth of the time.

CPython's collector counts new objects, and an import makes nothing else: while thousands of modules are imported it
walks all of them again and again and finds nothing, for modules stay. No upstream issue is known to us; seen in
CPython 3.11 to 3.13. ``gc.freeze`` is CPython's own advice for objects that live as long as the process.
"""

from __future__ import annotations

import gc
from functools import cache


@cache
def import_libraries() -> None:
    """Imports sae-lens and TransformerBridge with all that they import: most of the time until a model is open.

    The collector waits meanwhile, and leaves these objects out ever after, so that later collections are short too.
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
