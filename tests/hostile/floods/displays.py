"""Shows a hundred thousand outputs, and one of 100 MB."""

LAST = (
    """
from IPython.display import HTML, display

for number in range(100_000):
    display(number)
display(HTML("flood " * 20_000_000))
""",
)
TAME = False
