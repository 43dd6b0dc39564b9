"""Chapter 11: one memory in pages and in reservations: who is in it, what lies there once, what stays empty."""

from course_lib.viz.axis import Axis, plural
from course_lib.viz.controls import Choice, Slider, Steps
from course_lib.viz.explorer import Explorer
from course_lib.viz.explorers.ch11_requests import LONGEST, MEMORY, STEPS, history, reserved
from course_lib.viz.scene import Scene

BLOCKS = tuple((str(n), n) for n in (4, 8, 16, 32, 64))
SHARING = (("shared", True), ("each text its own", False))
WIDTH, HEIGHT = 760, 478
LEFT, RIGHT, TOP = 16, 398, 34
PER_ROW, ROW, TOKEN = 64, 14, 5.4  # a row of the memory: 64 tokens, of so many pixels
ROOM = ROW * MEMORY // PER_ROW
MOST = 32  # texts that the lower picture has room for
INK_ON_ORANGE = "#1f2328"  # in both themes


class Pages(Explorer):
    """The memory in pages, the same memory reserved, and how many texts each has held so far."""

    name = "pages"
    controls = (
        Slider("step", "step", 0, STEPS, 1, 40),
        Steps("block", "tokens a page", BLOCKS, 16),
        Choice("share", "equal beginnings", SHARING, True),
    )

    def numbers(self, step, block, share):
        return history(block, share)[int(step)]

    def sentence(self, m):
        lying = f", {plural(m.shared, 'page')} of {m.taken} serving several" if m.share else ""
        return (f"Step {m.step}, pages of {m.block} tokens: {plural(m.texts, 'text')} at once{lying}; {m.empty:.0%} of "
                f"the room in taken pages is empty. Where {LONGEST} tokens of the same memory are reserved for each: "
                f"{plural(len(m.reserved), 'text')}, and {m.reserved_empty:.0%} of the taken room is empty. "
                f"Finished so far: {m.finished} and {m.reserved_finished}.")  # fmt: skip

    def draw(self, m):
        scene = Scene(WIDTH, HEIGHT)
        _pages(scene, m)
        _reserved(scene, m)
        _key(scene)
        _over_time(scene, m)
        return scene


def _pages(scene, m):
    """Every page where it lies: the letter of its text, or how many share it; hatched where it is taken and empty."""
    scene.text(LEFT, 22, f"in pages of {m.block}: {plural(m.texts, 'text')}", size=14, bold=True, anchor="start")
    scene.text(LEFT + TOKEN * PER_ROW, 22, f"{m.waiting} wait", size=12, color="muted", anchor="end")
    for k, (name, users, tokens) in enumerate(m.pages):
        row, at = divmod(k * m.block, PER_ROW)
        x, y, wide = LEFT + TOKEN * at, TOP + ROW * row, TOKEN * m.block - 1
        scene.rect(x, y, wide, ROW - 1, fill="card", color="faint", line=0.6)
        if not users:
            continue
        full = wide * tokens / m.block
        scene.rect(x, y, full, ROW - 1, fill="orange" if users > 1 else "sky")
        if tokens < m.block:
            scene.hatch(x + full, y, wide - full, ROW - 1, "muted", gap=5, width=0.8)
        word = name if users == 1 else f"×{users}" if wide > 30 else users
        ink = INK_ON_ORANGE if users > 1 and full > 14 else "ink"
        scene.text(x + max(full, 20) / 2, y + 10.5, word, size=11, bold=True, color=ink)
        scene.tip(x, y, wide, ROW - 1, f"page {k}: {tokens} of {m.block} tokens, {plural(users, 'text')}")


def _reserved(scene, m):
    """The same memory, the same area: as much as the longest text for everybody."""
    scene.text(RIGHT, 22, f"reserved, {LONGEST} each: {plural(len(m.reserved), 'text')}", size=14, bold=True,
               anchor="start")  # fmt: skip
    high, wide = ROOM * LONGEST / MEMORY, TOKEN * PER_ROW
    for k in range(MEMORY // LONGEST):
        y = TOP + high * k
        scene.rect(RIGHT, y, wide, high - 1, fill="card", color="faint", line=0.6)
        if k < len(m.reserved):
            name, tokens = m.reserved[k]
            full = wide * tokens / LONGEST
            scene.rect(RIGHT, y, full, high - 1, fill="sky")
            scene.hatch(RIGHT + full, y, wide - full, high - 1, "muted", gap=7, width=0.8)
            scene.text(RIGHT + full / 2, y + high / 2 + 4, name, size=14, bold=True)
            scene.tip(RIGHT, y, wide, high - 1, f"{name}: {tokens} of {LONGEST} tokens")


def _key(scene):
    y = TOP + ROOM + 12
    marks = ((LEFT, "orange", "×3", "shared by three texts"), (200, "sky", "A", "of request A alone"),
             (362, "card", "", "taken and empty"), (514, "card", "", "free"))  # fmt: skip
    for x, fill, letter, word in marks:
        scene.rect(x, y, 24, 13, fill=fill, color="faint", line=0.6)
        if word.startswith("taken"):
            scene.hatch(x, y, 24, 13, "muted", gap=5, width=0.8)
        scene.text(x + 12, y + 10.5, letter, size=11, bold=True, color=INK_ON_ORANGE if fill == "orange" else "ink")
        scene.text(x + 31, y + 11, word, size=12, anchor="start")


def _over_time(scene, m):
    """Texts in memory after each step, both ways; a line stands at the chosen step."""
    moments = history(m.block, m.share)
    x, y = Axis(0, STEPS, 48, 640), Axis(0, MOST, HEIGHT - 34, TOP + ROOM + 62)
    scene.text(LEFT, TOP + ROOM + 50, "texts at once, over the steps", size=14, bold=True, anchor="start")
    for tick in y.ticks(4):
        scene.line(x.start, y(tick), x.end, y(tick), "faint", 1)
        scene.text(x.start - 8, y(tick) + 4, round(tick), size=12, color="muted", anchor="end")
    for tick in x.ticks(5):
        scene.text(x(tick), y.start + 18, round(tick), size=12, color="muted")
    held = [len(slots) for slots, _ in reserved()]
    scene.path([(x(k), y(n)) for k, n in enumerate(held)], "red", 3, dash=(7, 4))
    scene.path([(x(moment.step), y(moment.texts)) for moment in moments], "blue", 3)
    scene.text(x.end + 8, y(moments[-1].texts) + 4, "in pages", size=13, bold=True, color="blue", anchor="start")
    scene.text(x.end + 8, y(held[-1]) + 4, "reserved", size=13, bold=True, color="red", anchor="start")
    scene.line(x(m.step), y.start, x(m.step), y.end, "ink", 1.2, (3, 3))
    scene.circle(x(m.step), y(m.texts), 5, "blue", "paper").diamond(x(m.step), y(held[m.step]), 6, "red", "paper")


def pages(**start):
    """The third explorer of chapter 11: `pages(step=40, block=16, share=True)`."""
    return Pages(**start)
