"""The bundled model, any local or hub causal LM, the bundled texts and the returns task."""

from course_lib.models import task, texts
from course_lib.models.load import BUNDLED, bundled_bytes, load
from course_lib.models.outliers import plant_outliers

__all__ = ["BUNDLED", "bundled_bytes", "load", "plant_outliers", "task", "texts"]
