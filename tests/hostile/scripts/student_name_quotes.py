"""The student's folder has a name with quotes, spaces, a percent sign, a semicolon and a dollar."""

STUDENT = 'o\'neill "x" %s; $(touch WROTE-name) `id` {0}'
