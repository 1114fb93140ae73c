"""A Label Studio ML backend on `sam_core`."""
