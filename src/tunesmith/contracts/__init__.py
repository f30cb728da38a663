"""The shapes of the parts. Behaviour lives elsewhere; nothing here imports torch at run time."""
