"""Where the bytes of a clone come from, beside the network: a server on this host, a stored clone."""
