"""Reading what a provider hands in, with bounds and without executing anything."""
