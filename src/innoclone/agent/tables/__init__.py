"""What can be read: tables, their columns and rows."""
