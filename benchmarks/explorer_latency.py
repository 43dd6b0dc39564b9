"""How long an explorer's update takes in the kernel, from a slider's callback to the bytes that go to the page.

    python benchmarks/explorer_latency.py [--write]

Every control is swept over its values on a real widget; one update is one assignment to the control's value, which
recomputes the figures, draws the picture, writes the sentence and sets the HTML widget. The bar is a median of 50 ms.
`--write` records the result in benchmarks/results/explorer_latency.json.
"""

import argparse
import statistics
import sys
import time

from record import record

BAR_MS = 50
MOVES = 60  # of each control at most


def updates_ms(explorer):
    """Milliseconds of every update while each control is swept from end to end, and the bytes of the last one."""
    *handles, face = explorer.box().children
    times = []
    for control, handle in zip(explorer.controls, handles, strict=False):  # the toggler has buttons as well
        options = [label for label, _ in getattr(control, "options", [])] or control.values()
        start = handle.value
        for value in [*options[:: max(1, len(options) // MOVES)], start]:
            if value != handle.value:
                clock = time.perf_counter()
                handle.value = value
                times.append((time.perf_counter() - clock) * 1e3)
    return times, len(face.value.encode())


def row(name, explorer):
    """Median, 95th percentile and largest of one explorer's updates."""
    times, size = updates_ms(explorer)
    times.sort()
    shown = dict(explorer=name, updates=len(times), median_ms=round(statistics.median(times), 2),
                 p95_ms=round(times[int(0.95 * (len(times) - 1))], 2), max_ms=round(times[-1], 2),
                 bytes=size)  # fmt: skip
    print("{explorer:16} {updates:4} updates   median {median_ms:7.2f} ms   p95 {p95_ms:7.2f}   max {max_ms:8.2f}   "
          "{bytes:7,} bytes".format(**shown))  # fmt: skip
    return shown


def bot_rows():
    """The first screen twice: replies made for the first time (in seconds each), then from the store."""
    from course_lib.viz import explorers
    from course_lib.viz.bot import BITS

    clock = time.perf_counter()
    bot = explorers.break_the_bot()
    bot.frame(bits=16)
    loading = time.perf_counter() - clock
    replies = []
    for message in range(len(bot.examples)):
        for bits in BITS:
            clock = time.perf_counter()
            bot.frame(message=message, bits=bits)
            replies.append(time.perf_counter() - clock)
    first = dict(first_screen_s=round(loading, 2), reply_median_s=round(statistics.median(replies), 3),
                 reply_max_s=round(max(replies), 3))  # fmt: skip
    print("{:16} first screen {first_screen_s} s, then a new reply: median {reply_median_s} s, largest {reply_max_s} s"
          .format("break_the_bot", **first))  # fmt: skip
    return {**row("break_the_bot", bot), **first}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record the result")
    options = parser.parse_args()
    from course_lib.viz import explorers

    names = ("ruler", "grid", "planner", "heatmap", "migrate", "stepper", "protect", "inspector", "offload", "blocks",
             "toggler", "comparer", "capacity", "attention", "pages", "trace", "loop", "gate", "decide",
             "canary", "mastery")  # fmt: skip
    rows = [row(name, getattr(explorers, name)()) for name in names]
    try:
        rows.append(bot_rows())
    except FileNotFoundError as error:
        print(f"break_the_bot    not measured: {error}")
    if options.write:
        record("explorer_latency", rows, bar_median_ms=BAR_MS)
    return int(any(entry["median_ms"] > BAR_MS for entry in rows))


if __name__ == "__main__":
    sys.exit(main())
