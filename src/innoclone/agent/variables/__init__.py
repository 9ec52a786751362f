"""System variables: global, of a session, and those that can't be set."""
