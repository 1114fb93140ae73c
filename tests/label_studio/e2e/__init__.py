"""The Label Studio backend with a real Label Studio server and a real browser."""
