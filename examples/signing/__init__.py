"""A throw-away private Sigstore: signs the demo's submissions and the tests' images."""
