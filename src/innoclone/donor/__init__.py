"""The sending side: a stored clone, or a server's data at rest, served to recipients that speak the clone protocol."""
