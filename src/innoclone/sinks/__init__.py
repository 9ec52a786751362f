"""Where the bytes of a clone go."""
