"""Bytes to messages and back: MySQL login packets, clone commands, responses and descriptors; no I/O."""
