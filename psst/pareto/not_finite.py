"""What is raised where training has diverged."""


class NotFiniteError(ValueError):
    """A loss is NaN or infinite."""
