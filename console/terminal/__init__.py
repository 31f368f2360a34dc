"""The `pratique` command."""
