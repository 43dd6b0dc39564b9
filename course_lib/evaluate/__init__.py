"""Is it still as good: bits per byte, KL and top-1 against the base, exact replies, and how sure each number is."""

from course_lib.evaluate.cached import CacheComparison, CacheReference, reply_from_cache
from course_lib.evaluate.chain import reply_flips
from course_lib.evaluate.compare import Comparison, Reference, compare, kl_divergence
from course_lib.evaluate.decode import generate, generate_many, one_thread
from course_lib.evaluate.language import LanguageScore, bits_per_byte, perplexity, score
from course_lib.evaluate.noise import Noise, noise_floor
from course_lib.evaluate.stats import cluster_ratio, mean_stderr, wilson
from course_lib.evaluate.task import TaskResult, is_exact, task_accuracy

__all__ = [
    "CacheComparison",
    "CacheReference",
    "Comparison",
    "LanguageScore",
    "Noise",
    "Reference",
    "TaskResult",
    "bits_per_byte",
    "cluster_ratio",
    "compare",
    "generate",
    "generate_many",
    "is_exact",
    "kl_divergence",
    "mean_stderr",
    "noise_floor",
    "one_thread",
    "perplexity",
    "reply_flips",
    "reply_from_cache",
    "score",
    "task_accuracy",
    "wilson",
]
