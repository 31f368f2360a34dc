"""The ground floor: the words that every other package uses."""
