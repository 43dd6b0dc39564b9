"""The exercises of chapter 08: header, tensor info, layout, q and k, a stranger's count, offload."""

from course_lib.checks.ch08.break_array import EXERCISE as break_array
from course_lib.checks.ch08.header import EXERCISE as header
from course_lib.checks.ch08.offload import EXERCISE as offload
from course_lib.checks.ch08.offsets import EXERCISE as offsets
from course_lib.checks.ch08.permute import EXERCISE as permute
from course_lib.checks.ch08.tensor_info import EXERCISE as tensor_info

EXERCISES = (header, tensor_info, offsets, permute, break_array, offload)
