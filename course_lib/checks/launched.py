"""A Triton kernel as a function of tensors: launched on poisoned outputs, interpreted on a CPU.

    launch(kernel, x, …) -> tensor        allocates outputs full of NaN and runs kernel[grid](…)

The interpreter runs the check on a GPU machine, too: only there does a lane that reads beyond its tensor say so.
Kernels of the course are kept as text, so that a chapter's exercises can be listed where triton is not installed.
"""

import ast
import inspect
import linecache

import torch


class Launched:
    """A kernel with its launch: called with tensors, as a plain function would be.

    kernel: what `@triton.jit` made of a function, or the text of one. An error inside the interpreter comes out as the
    error itself. Errors: TypeError when it is called and `@triton.jit` is missing.
    """

    def __init__(self, kernel, launch):
        self.kernel, self.launch = kernel, launch
        self.__name__ = _name_in(kernel) if isinstance(kernel, str) else getattr(kernel, "__name__", "kernel")
        first, *rest = inspect.signature(launch).parameters.values()
        self.__signature__ = inspect.Signature(rest)

    @property
    def __code__(self):
        return getattr(self.kernel, "fn", self.kernel).__code__

    def __call__(self, *args, **kwargs):
        from triton.runtime.errors import InterpreterError

        try:
            return self.launch(self.ready(), *args, **kwargs)
        except InterpreterError as err:
            raise (err.__cause__ or err) from None

    def source(self) -> str:
        """The kernel's text, its decorator first."""
        return self.kernel if isinstance(self.kernel, str) else inspect.getsource(self.kernel.fn)

    def ready(self):
        """The kernel as the mended interpreter runs it."""
        from course_lib.kernels import interpreter

        interpreter.mend()
        if isinstance(self.kernel, str):
            self.kernel = compiled(self.kernel, f"<{self.__name__} {hash(self.kernel):x}>")
        if not hasattr(self.kernel, "fn"):
            raise TypeError(f"{self.__name__} is a plain Python function: put @triton.jit above its def")
        return interpreter.interpreter.InterpretedFunction(self.kernel.fn)


def names() -> dict:
    """What the cell of a kernel may use without an import of its own; empty where triton is not installed."""
    try:
        import triton
        import triton.language as tl

        import course_lib.kernels.interpreter  # noqa: F401  before anything is decorated
    except ImportError:
        return {}
    return {"triton": triton, "tl": tl}


def compiled(source: str, filename: str):
    """The kernel that a text defines last; its lines go to linecache, where triton looks for them."""
    remember(source, filename)
    scope = names()
    exec(compile(source, filename, "exec"), scope)
    return scope[_name_in(source)]


def remember(source: str, filename: str) -> None:
    """Let `inspect` find the source of what was compiled from a text."""
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)


def _name_in(source: str) -> str:
    return [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)][-1]


def poisoned(*shape, dtype=torch.float32) -> torch.Tensor:
    """An output that nobody has written yet: NaN, or 90 for whole numbers."""
    return torch.full(shape, float("nan") if dtype.is_floating_point else 90, dtype=dtype)
