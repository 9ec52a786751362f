"""The proof that a position read from pages is the one that a boot finds: many small clones of busy donors.

A *variant* is a donor with the settings that matter for its binary log; `Trouble` is what its clients do to the log
beside the ordinary write load. `Trial` makes clones of one donor and compares. ``./scripts/positions`` counts.
"""
