"""IPython event callbacks and a patched run_cell and display hook, to change results after they are computed."""

CELLS = {
    "q1": """
def after(result):
    result.result, result.error_in_exec = 4.0, None


shell = get_ipython()
shell.events.register("post_run_cell", after)
shell.displayhook.__class__.__call__ = lambda self, result=None: None


def spare_code(w, b):
    return None
"""
}
DESERVED = {"q1": 0}
NAIVE = "points"
