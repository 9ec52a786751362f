"""Attacks on an agent with a running clone: ``./scripts/attack``."""
