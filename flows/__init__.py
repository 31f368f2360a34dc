"""The order in which an inspection happens; Prefect is imported in `flows.onboard` only."""
