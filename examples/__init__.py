"""Example tools as a provider would write them, and the builder that makes images and submissions of them."""
