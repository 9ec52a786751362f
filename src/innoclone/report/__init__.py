"""How progress and results are shown: text, lines of JSON, a live view."""
