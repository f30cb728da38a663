"""The one configuration: strict, documented field by field, saved resolved with every run."""

from tunesmith.recipe.schema import Part, Recipe

__all__ = ["Part", "Recipe"]
