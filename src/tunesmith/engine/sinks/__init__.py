"""Where events go: the record on disk, the live display, experiment trackers."""
