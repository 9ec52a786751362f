"""What a donor's stream says: the table of files, the checks of pages."""
