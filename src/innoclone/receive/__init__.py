"""Taking a clone from a donor: connections, stages, retries, resuming."""
