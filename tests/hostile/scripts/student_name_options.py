"""The student's folder has the name of an option."""

STUDENT = "--force"
