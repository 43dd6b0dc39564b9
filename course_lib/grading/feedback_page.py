"""The feedback page: one HTML file without scripts, links to elsewhere or anything else that could do something."""

import functools

import jinja2
import mistune
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from course_lib.checks.limit import TimeUp, within
from course_lib.grading.feedback_view import View
from course_lib.grading.history import points
from course_lib.viz.palette import DARK, LIGHT

HIGHLIGHTED, SECONDS = 20_000, 2.0  # characters of code, and time for one answer; longer ones stay black

STYLE = """
body { font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: var(--ink); background: var(--paper);
  max-width: 46rem; margin: 2rem auto 4rem; padding: 0 1rem; overflow-wrap: anywhere }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 } h2 { font-size: 1.15rem; margin: 0 } p { margin: .4rem 0 }
.who, .quiet, footer { color: var(--muted) } .total { font-size: 2rem; font-weight: 650; margin: 1rem 0 .2rem }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 2rem } td, th { padding: .3rem .5rem; text-align: left }
td { border-top: 1px solid var(--faint) } th { font-weight: 500; color: var(--muted) }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums } a { color: var(--blue) }
section { border-top: 2px solid var(--faint); padding-top: .8rem; margin-top: 1.6rem }
.head { display: flex; justify-content: space-between; align-items: baseline; gap: 1rem }
.points { white-space: nowrap; font-weight: 600 } .full { color: var(--green) } .less { color: var(--red) }
.box { background: var(--card); border-left: 4px solid var(--faint); padding: .5rem .8rem; margin: .6rem 0 }
.lost { border-color: var(--red) } .mistake { border-color: var(--orange) } .comment { border-color: var(--blue) }
.box > :first-child { margin-top: 0 } .box > :last-child { margin-bottom: 0 }
pre { white-space: pre-wrap; font: .85rem/1.45 "DejaVu Sans Mono", ui-monospace, monospace;
  background: var(--card); padding: .6rem .8rem; margin: .4rem 0 } pre.text { font: inherit }
.bar { width: 96px } footer { margin-top: 2.5rem; border-top: 1px solid var(--faint) }
ul { margin: .2rem 0; padding-left: 1.4rem; font-size: .93rem } li span { color: var(--ink) }
li.full { list-style: "✓  " } li.less { list-style: "✗  " }
summary { color: var(--muted); cursor: pointer; margin-top: .6rem } svg { display: block }
.hl .k, .hl .kn, .hl .ow, .hl .kc { color: var(--purple) } .hl .c1, .hl .sd { color: var(--muted) }
.hl .s1, .hl .s2, .hl .sa, .hl .si { color: var(--green) } .hl .nf, .hl .nc { color: var(--blue) }
@media print { body { font-size: 11pt; margin: 0; max-width: none } section, tr { break-inside: avoid }
  a { color: inherit; text-decoration: none } details:not([open]) { display: none } }
"""

TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ v.title }}: {{ v.name or v.student }}</title>
<style>:root { {{ light }} }
@media screen and (prefers-color-scheme: dark) { :root { {{ dark }} } }{{ style }}</style>
</head>
<body>
<header>
<h1>{{ v.title }}</h1>
<p class="who">{% if v.name %}{{ v.name }} · {% endif %}{{ v.student }}</p>
{% if v.points is none %}
<p class="total">No score yet</p>
<p>Your notebook could not be graded. This is not a zero: a person will look at it.</p>
{% else %}
<p class="total">{{ points(v.points) }} of {{ points(v.of) }} points{% if v.waits %} so far{% endif %}</p>
{% if v.penalty %}<p>{{ points(v.penalty) }} points were taken off because it came late.</p>{% endif %}
{% if v.waits %}<p>Some answers wait for a person to read them; their points will be added.</p>{% endif %}
{% endif %}
{% for note in v.notes %}<p class="box">{{ note }}</p>
{% endfor %}
</header>
<table>
<tr><th>Question</th><th class="n">Points</th><th></th></tr>
{% for item in v.items %}
<tr><td><a href="#{{ item.id }}">{{ item.title }}</a></td>
<td class="n">{{ "–" if item.points is none else points(item.points) }} of {{ points(item.of) }}</td>
<td class="bar"><svg width="96" height="10" aria-hidden="true"><rect width="96" height="10" fill="var(--faint)"/>
<rect width="{{ bar(item) }}" height="10" fill="var(--{{ 'green' if item.is_full else 'blue' }})"/></svg></td></tr>
{% endfor %}
</table>
{% for item in v.items %}
<section id="{{ item.id }}">
<div class="head"><h2>{{ item.title }}</h2>
{% if item.points is none %}<span class="points">{{ "no score yet" if v.points is none else "to be read" }}</span>
{% else %}<span class="points {{ 'full' if item.is_full else 'less' }}">
{{- '✓ ' if item.is_full }}{{ points(item.points) }} of {{ points(item.of) }}</span>{% endif %}</div>
{% if item.by_hand %}<p class="quiet">A person has given these points.</p>{% endif %}
{% if item.comment %}<div class="box comment"><p><strong>Comment</strong></p>
{{ markdown(item.comment) }}</div>{% endif %}
{% for lost in item.lost %}<div class="box lost"><p><strong>−{{ lost.points }} · {{ lost.name }}</strong></p>
<p>{{ capital(lost.how) }}.</p>{% if lost.why %}<p class="quiet">{{ lost.why }}</p>{% endif %}</div>
{% endfor %}
{% for mistake in item.mistakes %}<div class="box mistake"><p><strong>A likely mistake: {{ mistake.name }}</strong></p>
<p>{{ mistake.words }}</p></div>
{% endfor %}
{% for said in item.said %}<div class="box lost"><p>{{ said }}</p></div>
{% endfor %}
{% if item.checks and not item.is_full %}<p class="quiet">The checks that you could see:</p>
<ul>{% for check in item.checks %}
<li class="{{ 'full' if check.state == 'holds' else 'less' }}"><span>{{ check.words }}</span></li>
{% endfor %}</ul>{% endif %}
{% if item.answer %}<details{{ '' if item.is_full and item.is_code else ' open' }}><summary>Your answer</summary>
{% if item.is_code %}<pre class="hl">{{ code(item.answer) }}</pre>
{% else %}<pre class="text">{{ item.answer }}</pre>{% endif %}
</details>{% endif %}
</section>
{% endfor %}
{% if v.changes %}
<section>
<h2>Graded again</h2>
<table>{% for change in v.changes %}
<tr><td>{{ change.at.strftime("%Y-%m-%d %H:%M") }} UTC</td>
<td class="n">{{ points(change.before) }} → {{ points(change.after) }}</td>
<td>{{ capital(change.cause) }}.{% if change.why %} {{ change.why }}{% endif %}</td></tr>{% endfor %}
</table>
</section>
{% endif %}
<footer><p>The points come from hidden numbers: the same properties that you could see, on other data.</p></footer>
</body>
</html>
"""


def render(view: View) -> str:
    """The page as text. Everything of the student's is escaped; a comment's markdown may not hold HTML."""
    markdown = mistune.create_markdown(escape=True)
    page = _template().render(
        v=view, points=points, bar=_bar, code=_code, capital=lambda text: text[:1].upper() + text[1:],
        markdown=lambda text: jinja2.filters.Markup(markdown(text)),
        light=_variables(LIGHT), dark=_variables(DARK), style=jinja2.filters.Markup(STYLE),
    )  # fmt: skip
    return page.encode("utf-8", "replace").decode()  # half of a surrogate pair could not be written


@functools.cache
def _template() -> jinja2.Template:
    return jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE)


def _bar(item) -> int:
    return round(96 * min(1.0, max(0.0, (item.points or 0.0) / item.of))) if item.of else 0


def _code(source: str):
    """Python with its words coloured; pygments escapes it."""
    if len(source) > HIGHLIGHTED:
        return source
    try:
        coloured = within(lambda: highlight(source, PythonLexer(stripnl=False), HtmlFormatter(nowrap=True)), SECONDS)
    except TimeUp:  # some texts take the square of their length, or more
        return source
    return jinja2.filters.Markup(coloured)


def _variables(colours: dict[str, str]) -> str:
    return "; ".join(f"--{name}: {code}" for name, code in colours.items())
