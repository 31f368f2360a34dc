"""Statements, the transparency ledger and the content-addressed store."""
