"""The comparison of innoclone with other ways to copy a MySQL server; run it with ``./bench/compare``."""
