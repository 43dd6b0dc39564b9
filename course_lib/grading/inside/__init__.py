"""What runs in the sandbox beside a student's code. It must not import course_lib: it is bound there file by file."""
