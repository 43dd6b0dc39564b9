"""The student's folder has a very long name in another script."""

STUDENT = "学生" * 40
