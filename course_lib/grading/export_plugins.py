"""The rows of `course export` from nbgrader's own command, with --exporter=course_lib.grading.export_plugins.Canvas.

An assignment has a file of its own: name one with --assignment, where there are several.
"""

from pathlib import Path

from nbgrader.plugins import ExportPlugin
from traitlets import Unicode

from course_lib.files import write_atomic
from course_lib.grading import export_rows
from course_lib.grading.gradebook import settle


class _Rows(ExportPlugin):
    """What both have in common."""

    column = Unicode("", help="the assignment's name there; nbgrader's if not given").tag(config=True)

    def export(self, gradebook) -> None:
        """Write the file. Errors: ValueError where it is not clear which assignment."""
        names = [str(name) for name in self.assignment] or [found.name for found in gradebook.assignments]
        if len(names) != 1:
            raise ValueError(f"--assignment must name one of {', '.join(names) or 'none'}.")
        settle(gradebook, self.config, names[0])
        lines = export_rows.lines(gradebook, names[0])
        lines = [line for line in lines if not self.student or line.student in map(str, self.student)]
        rows = self.rows(lines, self.column or names[0])
        write_atomic(Path(self.to or f"{names[0]}.csv"), export_rows.write(rows))


class Canvas(_Rows):
    """For Canvas's Gradebook, Import."""

    def rows(self, lines, column):
        """The rows of the file."""
        return export_rows.canvas(lines, column)


class Moodle(_Rows):
    """For Moodle's Grades, Import, CSV file."""

    by = Unicode("email", help="email or username").tag(config=True)

    def rows(self, lines, column):
        """The rows of the file."""
        return export_rows.moodle(lines, column, self.by)
