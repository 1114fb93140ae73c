"""Embeddings by the address of the image, in memory and on disk."""


class Embeddings:
    """Encodes each page of each image once."""
