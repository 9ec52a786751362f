"""One story a verb: what a command does from beginning to end."""
