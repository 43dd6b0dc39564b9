"""The exercises of chapter 08: parse a header, write a tensor info, lay out the data, permute q and k, plan offload."""

from course_lib.checks.ch08.header import EXERCISE as header
from course_lib.checks.ch08.offload import EXERCISE as offload
from course_lib.checks.ch08.offsets import EXERCISE as offsets
from course_lib.checks.ch08.permute import EXERCISE as permute
from course_lib.checks.ch08.tensor_info import EXERCISE as tensor_info

EXERCISES = (header, tensor_info, offsets, permute, offload)
