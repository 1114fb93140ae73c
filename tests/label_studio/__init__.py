"""The Label Studio backend."""
