"""Passive records that an operation carries: status, limits, manifest."""
