"""Registries over their own protocol: small reads, credentials, uploads."""
