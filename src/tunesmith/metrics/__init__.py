"""Pure functions from answers and losses to numbers, and how sure those numbers are."""
