"""Turns off the normalisation inside a sae-lens SAE; `saes/sae_transform.py` does it outside, without a state.

sae-lens keeps the statistics of the last encoded input on the SAE and deletes them when it decodes: nothing can be
decoded twice, nor before its own input is encoded, nor by two threads at once. Seen in sae-lens 6.54.12; no upstream
issue is known to us.
"""

from __future__ import annotations

from typing import Any


def drop_normalisation(sae: Any) -> None:
    """Makes `sae` encode and decode without its own normalisation."""
    sae.run_time_activation_norm_fn_in = sae.run_time_activation_norm_fn_out = lambda x: x
