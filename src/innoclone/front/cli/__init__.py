"""The command ``innoclone``; each command has a module of its own."""
