"""The SQL that the agent understands: statements of its own grammar, and SELECT over its tables."""
