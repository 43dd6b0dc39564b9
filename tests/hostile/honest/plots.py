"""Draws plots and tables, shows HTML and pictures, and leaves figures open."""

FIRST = (
    """
import matplotlib.pyplot as plt
from IPython.display import HTML, Markdown, display

plt.plot(torch.linspace(-1, 1, 9), torch.randn(9))
plt.show()
figure, axes = plt.subplots(2, 2)
display(HTML("<b>bold</b>"), Markdown("**bold**"), figure)
figure
""",
)
