"""All right; the last of the class by name, so that whatever the others left behind would hit it."""
