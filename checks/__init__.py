"""One module or small package per check; see `checks.interface`."""
