"""Bytes to on-disk structures and back: InnoDB pages, flags and checksums; no I/O."""
