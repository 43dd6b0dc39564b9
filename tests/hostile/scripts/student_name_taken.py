"""The student's folder has the name that the grader itself gives to a student whose name it must change."""

from course_lib.grading.submission import Submission

STUDENT = Submission("<img src=x onerror=XSS()>").account
CELLS = {"q1": "def spare_code(w, b):\n    return w.to(torch.int8), 1.0\n"}
DESERVED = {"q1": 0}
