"""The explorer: two or three controls, a picture that answers, one sentence that says what it now shows.

A subclass gives four pure things, all testable without a widget:
`controls` (what moves), `numbers(**state)` (the arithmetic), `draw(numbers) -> Scene`, `sentence(numbers) -> str`.
The base class wires them: a slider's callback recomputes all four, and one MIME bundle carries the live widget,
a PNG for exports, and the sentence as plain text.
"""

from html import escape

from course_lib.viz.accessible import paragraph
from course_lib.viz.controls import Choice
from course_lib.viz.display import image


class Explorer:
    """Base class: `Ruler(w=0.73)` sets a control's first value; the object shows itself at a cell's end."""

    name = "explorer"
    controls = ()

    def __init__(self, **start):
        known = {control.name for control in self.controls}
        unknown = set(start) - known
        if unknown:
            raise TypeError(
                f"{self.name}: no control named {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}"
            )
        self.state = {control.name: start.get(control.name, control.value) for control in self.controls}

    def numbers(self, **state):
        """The figures that picture and sentence show, for one setting of the controls."""
        raise NotImplementedError

    def draw(self, numbers):
        """The picture of these figures, as a Scene."""
        raise NotImplementedError

    def sentence(self, numbers):
        """One or two plain sentences that say what the picture shows."""
        raise NotImplementedError

    def frame(self, **moved):
        """Sentence and scene after moving some controls: the whole answer, with no widget."""
        self.state = {**self.state, **moved}
        numbers = self.numbers(**self.state)
        return self.sentence(numbers), self.draw(numbers)

    def html(self, **moved):
        """The markup that a move of a control sends to the page: picture, then sentence."""
        sentence, scene = self.frame(**moved)
        sliders = sum(not isinstance(control, Choice) for control in self.controls)
        return scene.svg(sentence) + paragraph(sentence, sliders)

    def png(self, scale=2, **moved):
        """The picture as PNG bytes, `scale` dots per CSS pixel."""
        return self.frame(**moved)[1].png(scale)

    def box(self):
        """The live widget: controls above, picture and sentence below."""
        import ipywidgets as widgets

        face = widgets.HTML(self.html())
        handles = {control.name: control.widget(self.state[control.name]) for control in self.controls}

        def moved(change):
            face.value = self.html(**{c.name: c.read(handles[c.name].value) for c in self.controls})

        for handle in handles.values():
            handle.observe(moved, names="value")
        box = widgets.VBox([*handles.values(), face], layout=widgets.Layout(max_width="800px"))
        return box.add_class("q-explorer").add_class(f"q-{self.name}")

    def bundle(self):
        """(data, metadata) of one output with two faces: the widget, and its PNG where widgets do not live.

        The HTML holds the same PNG with the sentence as its description: an exported page takes no alternative text
        from a bare PNG's metadata.
        """
        sentence, scene = self.frame()
        png = scene.png()
        data = dict(self.box()._repr_mimebundle_())
        still = f"{image(png, sentence, scene.width)}<p>{escape(sentence)}</p>"
        data.update({"text/html": still, "image/png": png, "text/plain": sentence})
        return data, {"image/png": {"alt": sentence, "width": scene.width, "height": scene.height}, "alt": sentence}

    def _ipython_display_(self):
        from IPython.display import display

        data, metadata = self.bundle()
        display(data, metadata=metadata, raw=True)
