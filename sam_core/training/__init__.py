"""Training of promptable models by simulated clicks. Imported only on purpose: nothing else of `sam_core` needs it."""
