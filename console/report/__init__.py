"""Renders a report from its JSON, the one truth."""
