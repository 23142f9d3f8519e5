"""A search that fits into steps or seconds."""
