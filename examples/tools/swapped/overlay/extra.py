"""One added file is enough: these are not the bytes that were validated."""
