"""How sure: tests and intervals."""
