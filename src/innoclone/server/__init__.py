"""MySQL servers: their programs, a private one, what is asked of one before and after a clone."""
