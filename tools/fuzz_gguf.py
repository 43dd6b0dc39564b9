"""Coverage-guided fuzzing of all that reads GGUF files from strangers: container, tensors, models, importance matrices,
`course gguf`.

    make fuzz [ARGS="--cases 1000000 --write"]

atheris (libFuzzer for Python) instruments the modules of course_lib.artifacts.gguf and starts from the whole files of
tests/gguf_toys. Of ten changes four go to a number that the file states (a count, a length, a type, a dimension, an
offset), two give a key the value of another, the rest are libFuzzer's own. Any exception but GGUFError, 60 s for one
file or 3 GB of memory ends the run; the file that did it lies in --folder.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
import warnings
import zlib
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIES = (0, 1, 2, 7, 8, 9, 31, 32, 33, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
LONGEST = 16_384  # bytes of a file
DEEP = 64  # one file in so many builds its model and decodes its tensors, as far as it is whole enough for that


def child(folder: Path, cases: int, seed: int) -> None:
    """Fuzz until `cases` files are read; every 1000 of them the counts go to folder/counts.json."""
    import atheris

    import course_lib.formats.ggml  # noqa: F401  arithmetic, without lengths to believe

    with atheris.instrument_imports(include=["course_lib.artifacts.gguf"]):
        import course_lib.artifacts.gguf.imatrix
        import course_lib.artifacts.gguf.load
        import course_lib.artifacts.gguf.show  # noqa: F401
    from course_lib.artifacts.gguf import GGUFError
    from tests import gguf_toys

    warnings.simplefilter("ignore")
    for data in gguf_toys.seeds().values():
        gguf_toys.consume(data)  # transformers and tokenizers are loaded before the clock of a file runs
    counts = dict.fromkeys(("cases", "deep", "refused", "legacy", "imatrix", "llama", "container"), 0)

    def one(data: bytes) -> None:
        counts["cases"] += 1
        if counts["cases"] % 1000 == 0 or counts["cases"] >= cases:
            (folder / "counts.json").write_text(json.dumps(counts), encoding="utf-8")
        deep = zlib.crc32(data) % DEEP == 0
        counts["deep"] += deep
        try:
            counts[gguf_toys.consume(data, deep)] += 1
        except GGUFError:
            counts["refused"] += 1

    def change(data: bytes, longest: int, seed: int) -> bytes:
        draw, how = random.Random(seed), random.Random(seed).random()
        places = gguf_toys.numbers(data) if how < 0.4 else gguf_toys.values(data) if how < 0.6 else []
        if not places:
            return atheris.Mutate(data, longest)
        if how < 0.4:
            return _lie(data, *draw.choice(places), draw)[:longest]
        (begin, end), (first, last) = draw.choice(places), draw.choice(places)
        return (data[:begin] + data[first:last] + data[end:])[:longest]  # another key's value

    options = [f"-runs={cases}", f"-seed={seed}", f"-max_len={LONGEST}", "-timeout=60", "-rss_limit_mb=3000",
               "-mutate_depth=2", f"-artifact_prefix={folder}/", "-print_final_stats=1"]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(folder / "corpus")], one, custom_mutator=change)
    atheris.Fuzz()


def _lie(data: bytes, place: int, size: int, draw: random.Random) -> bytes:
    """data with another number of so many bytes at this place: a large one, any, or one nearby."""
    true = int.from_bytes(data[place : place + size], "little")
    lie = draw.choice([draw.choice(LIES), draw.getrandbits(draw.randint(1, 64)), true + draw.randint(-2, 2)])
    return data[:place] + (lie % 2 ** (8 * size)).to_bytes(size, "little") + data[place + size :]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with a part of the cases and its own seed")
    parser.add_argument("--folder", type=Path, default=ROOT / ".course-fuzz" / "gguf", help="corpus, log and crashes")
    parser.add_argument("--write", action="store_true", help="record the result")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
    if args.child:
        child(args.folder, args.cases, args.seed)
        return 0
    from tests import gguf_toys

    began, running = time.perf_counter(), []
    for k in range(args.jobs):
        folder = args.folder / str(k)
        (folder / "corpus").mkdir(parents=True, exist_ok=True)
        for name, data in gguf_toys.seeds().items():
            (folder / "corpus" / name).write_bytes(data)
        command = [sys.executable, __file__, "--child", "--cases", str(-(-args.cases // args.jobs))]
        command += ["--seed", str(args.seed + k), "--folder", str(folder)]
        with open(folder / "log", "w", encoding="utf-8") as log:
            running.append((folder, subprocess.Popen(command, stdout=log, stderr=log)))
    found = total([report(folder, process.wait()) for folder, process in running])
    found["seconds"] = round(time.perf_counter() - began)
    print(json.dumps(found, indent=1))
    if args.write:
        from record import record

        record("fuzz-gguf", found, atheris=version("atheris"), seed=args.seed, longest_file_bytes=LONGEST)
    return int(found["other_exceptions"] > 0)


def total(reports: list[dict]) -> dict:
    """Sums over the jobs; of the edges covered the most that one of them has."""
    found = {key: sum(report[key] for report in reports) for key in reports[0]}
    return found | {"edges_covered": max(report["edges_covered"] for report in reports), "jobs": len(reports)}


def report(folder: Path, code: int) -> dict:
    """What a job has found: counts of how files ended, crashes, coverage and corpus at its end."""
    counts = json.loads((folder / "counts.json").read_text(encoding="utf-8"))
    last = [line for line in (folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()
            if " cov: " in line][-1].split()  # fmt: skip
    crashes = [p.name for pattern in ("crash-*", "oom-*", "timeout-*") for p in folder.glob(pattern)]
    return {
        **counts,
        "other_exceptions": len(crashes) or int(code != 0),
        "edges_covered": int(last[last.index("cov:") + 1]),
        "corpus_files": len(list((folder / "corpus").iterdir())),
        "corpus_bytes": sum(p.stat().st_size for p in (folder / "corpus").iterdir()),
    }


if __name__ == "__main__":
    sys.exit(main())
