"""Names and announcements for screen readers, where ipywidgets leaves them out.

An ipywidgets slider has a visible label but no accessible name, and a replaced paragraph is not read out. The sentence
under a picture therefore carries a handler that runs each time it appears on the page: it names every slider in the
explorer after its label, and repeats the sentence in a live region that stays.

JupyterLab takes single keys for itself wherever nobody writes text: an arrow in a drop-down list would leave for the
next cell, two d's would delete the cell. While the focus is on a control, its keys are its own; Enter, Escape, Tab
and all shortcuts with Ctrl stay JupyterLab's.
"""

from html import escape

_ON_SHOWN = """
const words = this.textContent;
const mend = left => {
  const box = this.closest('.q-explorer'), sliders = box ? [...box.querySelectorAll('.widget-slider')] : [];
  const parts = ['[role=slider]', 'label', '.widget-readout'];
  const handles = sliders.map(s => parts.map(part => s.querySelector(part)));
  if (left && (!box || sliders.length < Number(this.dataset.sliders) || handles.some(h => !h[0])))
    return requestAnimationFrame(() => mend(left - 1));
  for (const [handle, label, readout] of handles) {
    handle?.setAttribute('aria-label', label?.textContent ?? '');
    if (readout) handle?.setAttribute('aria-valuetext', readout.textContent);
  }
  if (!box) return;
  window.qKeys ??= (window.addEventListener('keydown', e => {
    const control = e.target.closest?.('.q-explorer :is(select, [role=slider])');
    const ours = !(e.ctrlKey || e.metaKey || e.altKey || ['Enter', 'Escape', 'Tab'].includes(e.key));
    control?.toggleAttribute('data-lm-suppress-shortcuts', ours);
  }, true), 1);
  let live = box.querySelector('.q-live');
  if (!live) {
    live = document.createElement('div');
    live.className = 'q-live';
    live.setAttribute('aria-live', 'polite');
    live.style = 'position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)';
    box.append(live);
  }
  live.textContent = words;
};
mend(300);
"""
_ARROW = (  # of a drop-down list, which ipywidgets draws in dark grey whatever the theme
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 18 18'%3E"
    "%3Cpath fill='%23ddd' d='M4 7l5 5 5-5z'/%3E%3C/svg%3E"
)
_STYLE = (
    "@keyframes q-shown{from{opacity:.99}}"
    f'body[data-jp-theme-light="false"]{{--jp-widgets-dropdown-arrow:url("{_ARROW}")}}'
    ".q-explorer .widget-readout{margin-left:12px}"  # a handle at its end reaches over the line's
)
_HANDLER = escape(" ".join(_ON_SHOWN.split()))
_LOOK = (
    "margin:6px 0 0;padding:8px 12px;border-left:4px solid var(--jp-brand-color1,#0072b2);max-width:760px;"
    "box-sizing:border-box;font-size:var(--jp-content-font-size1,14px);line-height:1.5;min-height:4em;"
    "color:var(--jp-content-font-color1,#1f2328);background:var(--jp-layout-color2,#f4f5f7);"
    "white-space:normal;animation:q-shown 1ms"
)


def paragraph(sentence, sliders):
    """The sentence as HTML, with the handler; `sliders` says how many handles there are to name."""
    return (
        f'<style>{_STYLE}</style><p class="q-sentence" data-sliders="{sliders}" '
        f'style="{_LOOK}" onanimationstart="{_HANDLER}">{escape(sentence)}</p>'
    )
