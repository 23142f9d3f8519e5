"""What data sets look like on disk: one layout a file."""
