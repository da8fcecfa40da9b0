"""Searches and sessions in folders, so that they outlive the process: what is needed to go on with them."""
