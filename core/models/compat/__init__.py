"""Patches of other libraries and workarounds for their behaviour, one file each.

Each file names the upstream issue, or the version in which the behaviour was seen where no issue is known. Each has a
test in `tests/core/models/compat/` that fails as soon as the library no longer behaves so: the file can then go.
"""
