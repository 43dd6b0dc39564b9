"""The hidden half of the problem sets; on the path of tests and of grading only, never installed, never released."""
