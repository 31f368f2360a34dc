"""Builds the example tools into OCI images and submissions, without a registry and bit for bit reproducibly."""
