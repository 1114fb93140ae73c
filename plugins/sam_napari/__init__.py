"""The napari plugin: point at a cell and see it, click and have it; in planes, stacks and time-lapses."""
