"""Files of the Hugging Face Hub: fetched with progress, checked, and explained when they cannot be had."""
