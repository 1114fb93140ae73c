"""Images of tasks, fetched with care."""


class ImageSource:
    """Opens what a task refers to."""
