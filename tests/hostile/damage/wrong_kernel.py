"""Asks for a kernel of another language, by a name with a path in it."""

STATUS = {"recovered", "graded", "needs_manual"}


def damage(notebook):
    notebook["metadata"] = {
        "kernelspec": {"name": "../../owned", "display_name": "R", "language": "R"},
        "language_info": {"name": "R"},
    }
    return notebook
