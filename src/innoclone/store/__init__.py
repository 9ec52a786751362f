"""Clones in an object store: format, keys, packs, snapshots, and what may be removed when."""
