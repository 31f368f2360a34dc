"""Where people meet Pratique."""
