"""Names of a package that are loaded on their first use, so that importing the package costs next to nothing."""

import importlib
import sys


def names(package, homes):
    """Return a package's `__getattr__` and `__dir__` for the names in `homes`: name -> the module that holds it.

    A module is named as it stands in the package ("qtensor"); None means that the name is itself a module of it.
    An unknown name is an AttributeError that lists those of `__all__`, or where there is none those of `homes`.

    >>> load, _ = names("course_lib", {"write_atomic": "files"})
    >>> load("write_atomic").__module__
    'course_lib.files'
    """
    module = sys.modules[package]

    def load(name):
        if name not in homes:
            raise AttributeError(f"{package} has no {name!r}; it has {', '.join(vars(module).get('__all__', homes))}")
        home = homes[name]
        found = importlib.import_module(f"{package}.{home or name}")
        value = getattr(found, name) if home else found
        setattr(module, name, value)  # over a module of the same name, which the import may just have put there
        return value

    return load, lambda: sorted({*vars(module), *homes})
