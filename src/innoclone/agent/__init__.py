"""The agent: CLONE statements and status tables over the MySQL protocol, for any client."""
