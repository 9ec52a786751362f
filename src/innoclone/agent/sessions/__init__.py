"""Connections of MySQL clients."""
