"""The model's tokenizer as it was saved, where TransformerBridge has given it a BOS.

The bridge sets ``bos_token = eos_token`` on a tokenizer that has no BOS, and invents an EOS where there is none: a
prompt would then begin with a token that the model never saw there. Described in
https://github.com/TransformerLensOrg/TransformerLens/pull/1634, seen in transformer-lens 3.9.0.
"""

from __future__ import annotations

from typing import Any


def saved_tokenizer(bridge_tokenizer: Any, folder: str) -> Any:
    """The tokenizer in `folder`; `bridge_tokenizer` itself where its BOS is its own, or where it is None."""
    if bridge_tokenizer is None or bridge_tokenizer.bos_token_id != bridge_tokenizer.eos_token_id:
        return bridge_tokenizer
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)
