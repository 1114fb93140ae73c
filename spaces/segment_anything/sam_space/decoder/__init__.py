"""The decoder in the visitor's browser: what is exported for it, what is sent to it, and what it runs on."""
