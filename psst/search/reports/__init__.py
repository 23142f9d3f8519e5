"""What a search has found, as numbers, files and pictures."""
