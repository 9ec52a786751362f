"""Proving that a clone is whole and equal to its donor."""
