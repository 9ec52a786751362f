"""The clones that the agent makes, each in a process of its own."""
