"""What a reader may move, as plain data; only `widget()` touches ipywidgets."""

from dataclasses import dataclass

_LABEL = {"description_width": "150px"}


@dataclass(frozen=True)
class Slider:
    """A number from `lo` to `hi` in steps of `step`; `format` is how the readout writes it."""

    name: str
    label: str
    lo: float
    hi: float
    step: float
    value: float
    format: str = ".2f"

    def values(self):
        """Every value the slider can take, in order."""
        count = round((self.hi - self.lo) / self.step)
        return [round(self.lo + k * self.step, 10) for k in range(count + 1)]

    def read(self, shown):
        """The value behind what the widget holds: the same number."""
        return shown

    def widget(self, value):
        """An ipywidgets slider that the arrow keys move."""
        import ipywidgets as widgets

        whole = all(float(v).is_integer() for v in (self.lo, self.hi, self.step))
        kind, shown = (widgets.IntSlider, "d") if whole else (widgets.FloatSlider, self.format)
        return kind(value, min=self.lo, max=self.hi, step=self.step, description=self.label, readout_format=shown,
                    style=_LABEL, layout=widgets.Layout(width="auto", max_width="620px"))  # fmt: skip


@dataclass(frozen=True)
class Options:
    """Named values: `options` is a tuple of (label, value); the widget holds the label, the explorer the value."""

    name: str
    label: str
    options: tuple
    value: object

    def values(self):
        """Every value, in order."""
        return [value for _, value in self.options]

    def read(self, shown):
        """The value behind a label."""
        return dict(self.options)[shown]

    def label_of(self, value):
        """The label of a value; ValueError names the values there are."""
        for label, known in self.options:
            if known == value:
                return label
        raise ValueError(f"{self.name} must be one of {', '.join(map(repr, self.values()))}, got {value!r}")

    def _widget(self, kind, value, **more):
        import ipywidgets as widgets

        labels = [label for label, _ in self.options]
        layout = widgets.Layout(width="auto", max_width="620px")
        return kind(
            options=labels, value=self.label_of(value), description=self.label, style=_LABEL, layout=layout, **more
        )


@dataclass(frozen=True)
class Steps(Options):
    """A slider over named stops; `continuous=False` waits for the mouse to let go, for answers that take a while."""

    continuous: bool = True

    def widget(self, value):
        """An ipywidgets slider that stops at each option."""
        import ipywidgets as widgets

        return self._widget(widgets.SelectionSlider, value, continuous_update=self.continuous)


@dataclass(frozen=True)
class Choice(Options):
    """One of a few, as a drop-down list."""

    def widget(self, value):
        """An ipywidgets drop-down list."""
        import ipywidgets as widgets

        return self._widget(widgets.Dropdown, value)
