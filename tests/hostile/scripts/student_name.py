"""The student's folder has a name that is HTML."""

STUDENT = "<img src=x onerror=XSS()>"
