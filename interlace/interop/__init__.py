"""Adapters that let other packages work on results; each imports its package when it is called."""
