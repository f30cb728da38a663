"""The sections of a page about a run: each file makes one from the run's facts, or nothing where there is nothing."""
