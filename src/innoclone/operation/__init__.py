"""The one door to each operation; CLI, Python API and agent all go through it."""
