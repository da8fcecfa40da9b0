"""Files of the Hugging Face Hub: fetched with progress, resumed after a break, explained when they cannot be had."""
