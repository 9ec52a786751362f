"""MySQL's own test suite for clones (``suite/clone`` of the package mysql-testsuite), with innoclone in it."""
