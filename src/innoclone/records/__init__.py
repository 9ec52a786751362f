"""What innoclone writes down: status, journal, history, manifest, limits."""
