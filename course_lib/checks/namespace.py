"""`check.ch01.round_trip`: exercises found by chapter and name, with completion and helpful errors."""

import difflib
import importlib
import pkgutil


def chapters() -> list[str]:
    """The names of the chapters that have exercises, as in ['ch00', 'ch01']."""
    import course_lib.checks as package

    found = [m.name for m in pkgutil.iter_modules(package.__path__)]
    return sorted(name for name in found if name.startswith("ch") and name[2:].isdigit())


def exercises(chapter: str) -> dict:
    """The exercises of a chapter by name, in the chapter's order."""
    module = importlib.import_module(f"course_lib.checks.{chapter}")
    return {exercise.name: exercise for exercise in module.EXERCISES}


def every() -> list:
    """Every live exercise of the course."""
    return [exercise for chapter in chapters() for exercise in exercises(chapter).values()]


def of_chapter(chapter: str) -> list:
    """The exercises of a chapter. Errors: AttributeError that names the chapters there are."""
    getattr(check, chapter)
    return list(exercises(chapter).values())


def find(exercise_id: str):
    """The exercise with this id, as in 'ch01.round_trip'."""
    chapter, _, name = exercise_id.partition(".")
    return getattr(getattr(check, chapter), name)


class _Chapter:
    """The exercises of one chapter as attributes."""

    def __init__(self, name: str):
        self._name = name

    def __dir__(self):
        return list(exercises(self._name))

    def __getattr__(self, name: str):
        known = exercises(self._name)
        if name in known:
            return known[name]
        raise AttributeError(_unknown(f"{self._name} has no exercise {name!r}", name, list(known)))

    def __repr__(self):
        return "\n".join(repr(exercise) for exercise in exercises(self._name).values())


class _Check:
    """The chapters as attributes."""

    def __dir__(self):
        return chapters()

    def __getattr__(self, name: str):
        if name in chapters():
            return _Chapter(name)
        raise AttributeError(_unknown(f"there are no exercises called check.{name}", name, chapters()))

    def __repr__(self):
        return "exercises by chapter: " + ", ".join(f"check.{name}" for name in chapters())


def _unknown(what: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 3, 0.4)
    return f"{what}; {'did you mean ' + ' or '.join(near) if near else 'there are ' + ', '.join(known)}?"


check = _Check()
