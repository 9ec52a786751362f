"""Stored clones that the agent serves."""
