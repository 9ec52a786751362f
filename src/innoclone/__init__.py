"""innoclone: MySQL's CLONE outside the server."""

__version__ = "0.1.0"
