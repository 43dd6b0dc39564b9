"""What each set was released with: a table of ours in the gradebook."""

import json
from pathlib import Path

from sqlalchemy import Column, DateTime, Integer, String, Table, Text, create_engine, func, insert, inspect, select
from sqlalchemy.engine import make_url

from course_lib.grading.cohort import Drawn
from course_lib.grading.gradebook import OURS, RESULTS, now

COHORTS = Table(  # the latest row of an assignment counts
    "course_cohort", OURS, Column("id", Integer, primary_key=True), Column("assignment", String(128), nullable=False),
    Column("cohort", String(128), nullable=False), Column("values", Text, nullable=False),
    Column("drawn_at", DateTime, nullable=False),
)  # fmt: skip


def recorded(url: str, assignment: str) -> tuple[Drawn | None, bool]:
    """(what an assignment was released with or None, whether anything is graded with it); makes no gradebook."""
    database = make_url(url).database if url.startswith("sqlite") else None
    if database is not None and not Path(database).is_file():
        return None, False
    engine = create_engine(url)
    try:
        tables = set(inspect(engine).get_table_names())
        with engine.connect() as db:
            rows = select(COHORTS).where(COHORTS.c.assignment == assignment).order_by(COHORTS.c.id.desc()).limit(1)
            row = db.execute(rows).first() if COHORTS.name in tables else None
            count = select(func.count()).where(RESULTS.c.assignment == assignment)
            graded = RESULTS.name in tables and db.execute(count).scalar() > 0
    finally:
        engine.dispose()
    return (Drawn(row.cohort, json.loads(row._mapping["values"])) if row else None), graded


def record(db, assignment: str, drawn: Drawn) -> None:
    """Write what an assignment was released with; `db` is an open gradebook's session."""
    db.execute(
        insert(COHORTS).values(
            assignment=assignment, cohort=drawn.cohort, values=json.dumps(drawn.values), drawn_at=now()
        )
    )
    db.commit()
