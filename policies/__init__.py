"""What a node demands, and what it says of the check results."""
