"""How a user says what he wants: connection strings, option files, login paths, sections of a configuration."""
