"""The work itself: receiving a clone, starting servers on it, checking it."""
