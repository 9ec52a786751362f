"""Executing statements, and what they answer."""
