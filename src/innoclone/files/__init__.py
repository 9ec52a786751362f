"""The only code that writes a clone directory: paths, data files, markers, durability."""
