"""The sections of a policy, one module for each question that a maintainer answers."""
