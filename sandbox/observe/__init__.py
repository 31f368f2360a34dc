"""Seeing what a tool tries to reach: a network in which every address is local and every attempt is written down."""
