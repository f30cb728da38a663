"""One module for each kind of plain text; `document(rng, world, held_out=...)` writes one document."""
