"""Passive records that an operation carries: status, limits, journal, manifest, history."""
