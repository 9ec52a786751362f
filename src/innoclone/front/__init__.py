"""The only code that prints, parses arguments and exits: the command line."""
