"""What two stores of the same images share, whatever they were made of."""


def content(store):
    """Return the checksums of images and labels."""
    return {name: store.meta["sha256"][name] for name in ("images.npy", "labels.npy")}
