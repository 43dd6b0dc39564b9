"""An endless loop that catches every exception, over and over."""

CELLS = {
    "q3": """
def split_error(w, s, b):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
"""
}
DESERVED = {"q3": 0}
TAME = False
