"""All five right, nothing odd."""
