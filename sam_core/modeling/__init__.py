"""Networks in plain torch. Of ours they import nothing but errors."""
