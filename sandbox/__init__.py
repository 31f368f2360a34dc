"""Runs untrusted tool containers under recorded limits."""
