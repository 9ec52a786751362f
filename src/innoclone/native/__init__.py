"""The native core: what is done to many bytes at once, in C and without Python's lock (docs/design.md)."""
