"""One palette for every picture: colour-blind-safe hues (after Okabe and Ito) that also read as text on their paper.

A mark never differs by colour alone: shape, hatching or a label says the same thing again.
"""

LIGHT = {
    "ink": "#1f2328",
    "muted": "#59616d",
    "faint": "#d3d7dd",
    "card": "#f4f5f7",
    "paper": "#ffffff",
    "blue": "#0072b2",
    "sky": "#9fd0ee",
    "red": "#bb4800",
    "green": "#007a5a",
    "orange": "#e69f00",
    "purple": "#9c4479",
}
DARK = {
    "ink": "#e8eaed",
    "muted": "#a9b0ba",
    "faint": "#474d56",
    "card": "#20242a",
    "paper": "#111111",
    "blue": "#5ab4ec",
    "sky": "#1d5277",
    "red": "#ff8d4d",
    "green": "#34c79b",
    "orange": "#f2b230",
    "purple": "#e29bc6",
}
CYCLE = ("blue", "red", "green", "purple", "orange")  # the order in which series of one plot take their hues
SANS = ("DejaVu Sans",)
MONO = ("DejaVu Sans Mono",)


def light(color):
    """Hex code of a palette name on white paper; anything else passes through: `light("blue") == "#0072b2"`."""
    return LIGHT.get(color, color)


def css():
    """The palette as CSS variables, light and dark, for JupyterLab, exported pages and VS Code."""
    rules = (";".join(f"--q-{name}:{value}" for name, value in table.items()) for table in (LIGHT, DARK))
    day, night = rules
    return f".q-pic{{{day}}}body[data-jp-theme-light=false] .q-pic,body.vscode-dark .q-pic{{{night}}}"
