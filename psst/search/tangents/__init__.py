"""Second-order tangents of the front: proposed, gated, corrected, confirmed."""
