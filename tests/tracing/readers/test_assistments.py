"""The four logs of ASSISTments, in files of their official formats that hold every trap."""

from pathlib import Path

import polars as pl
import pytest

from sensorium.core.config import build
from sensorium.core.errors import DataError
from sensorium.tracing.data.dataset import TracingDataset
from sensorium.tracing.data.importing import TracingImportConfig, import_tracing


def imported(folder: Path, reader: object, *, out: str = "out", **options: object) -> TracingDataset:
    config = build(TracingImportConfig, {"reader": reader, "min_responses": 1, **options}, source="test")
    return import_tracing(folder, folder.parent / out, config)


def rows(data: TracingDataset) -> list[tuple[str, str, str, int]]:
    """Return (student, question, concepts, response) by external ids, in order."""
    responses = data.table("responses.parquet")
    names = {
        kind: data.table(f"{kind}s.parquet").select(kind, f"{kind}_id") for kind in ("student", "question", "concept")
    }
    sets = (
        data.table("question_concepts.parquet")
        .join(names["concept"], on="concept")
        .sort("question", "concept_id")
        .group_by("question", maintain_order=True)
        .agg(pl.col("concept_id").str.join("+"))
    )
    joined = responses.join(names["student"], on="student", maintain_order="left")
    joined = joined.join(names["question"], on="question", maintain_order="left")
    joined = joined.join(sets, on="question", maintain_order="left")
    return joined.select("student_id", "question_id", "concept_id", "response").rows()


def rejected(data: TracingDataset) -> dict[str, int]:
    table = data.table("rejected.parquet")
    return dict(table.group_by("reason").len().rows())


def test_2009_order_ids_are_numbers_and_skills_a_set(folder: Path) -> None:
    (folder / "skill_builder_data_corrected_collapsed.csv").write_bytes(
        "order_id,user_id,problem_id,skill_id,skill_name,correct\n"
        "100,u1,p3,1,Caf\xe9,1\n"  # latin-1
        "9,u1,p1,1_2,a,0\n"
        "10,u1,p2,2,b,1\n"
        ",u1,p2,2,b,1\n"
        "11,u2,p1,,c,1\n"
        "12,u2,p1,NA,c,1\n"
        "13,u2,p1,2_1,c,0.5\n"
        "14,u2,p1,2_1,c,1\n".encode("latin-1")
    )
    data = imported(folder, "assist2009")
    assert rows(data) == [("u1", "p1", "1+2", 0), ("u1", "p2", "2", 1), ("u1", "p3", "1", 1), ("u2", "p1", "1+2", 1)]
    assert rejected(data) == {"order is no whole number": 1, "no concept": 2, "response is neither 0 nor 1": 1}
    assert data.info.counts["source_rows"] == 8
    assert not data.info.has_time


def test_2009_not_collapsed_rows_of_one_order_id_are_one_answer(folder: Path) -> None:
    (folder / "skill_builder_data.csv").write_text(
        "order_id,user_id,problem_id,skill_id,correct\n"
        "1,u1,p1,5,1\n1,u1,p1,7,1\n2,u1,p2,5,0\n2,u1,p2,6,1\n3,u1,p1,5,0\n3,u1,p1,7,0\n"
    )
    data = imported(folder, "assist2009")
    assert rows(data) == [("u1", "p1", "5+7", 1), ("u1", "p2", "5", 0), ("u1", "p1", "5+7", 0)]
    assert rejected(data) == {"contradicts another row of the same order id": 1}
    assert data.info.counts["collapsed"] == 2


def test_2012_fractions_are_set_aside_and_times_decide_the_order(folder: Path) -> None:
    (folder / "2012-2013-data-with-predictions-4-final.csv").write_text(
        "problem_id,user_id,start_time,skill_id,correct,Average_confidence(FRUSTRATED)\n"
        "p2,u1,2012-09-28 15:12:00.0,1,1,0.1\n"
        "p1,u1,2012-09-28 15:11:27.5,1,0,0.1\n"
        "p1,u1,2012-09-28 15:13:00,1,0.333,0.1\n"
        "p1,u1,,1,1,0.1\n"
        "p1,,2012-09-28 15:13:00,1,1,0.1\n"
    )
    data = imported(folder, "assist2012")
    assert rows(data) == [("u1", "p1", "1", 0), ("u1", "p2", "1", 1)]
    assert rejected(data) == {"response is neither 0 nor 1": 1, "no time": 1, "no student": 1}
    assert data.table("responses.parquet")["timestamp"].to_list() == [1348845087500, 1348845120000]


def test_2015_has_no_questions(folder: Path) -> None:
    (folder / "2015_100_skill_builders_main_problems.csv").write_text(
        "user_id,log_id,sequence_id,correct\nu1,30,s1,1\nu1,4,s2,0\nu1,31,s1,0.25\nu1,x,s1,1\n"
    )
    data = imported(folder, "assist2015")
    assert rows(data) == [("u1", "s2", "s2", 0), ("u1", "s1", "s1", 1)]
    assert not data.info.has_questions
    assert rejected(data) == {"response is neither 0 nor 1": 1, "order is no whole number": 1}


def test_2017_a_question_with_two_sets_becomes_two_and_ties_keep_the_order_of_the_file(folder: Path) -> None:
    (folder / "anonymized_full_release_competition_dataset.csv").write_text(
        "studentId,problemId,skill,startTime,correct\n"
        "8,p1,area,1096470301,1\n8,p1,circle,1096470350,0\n8,p2,area,1096470350,1\n8,p1,area,1096470300,0\n"
    )
    data = imported(folder, "assist2017")
    assert rows(data) == [
        ("8", "p1@area", "area", 0),
        ("8", "p1@area", "area", 1),
        ("8", "p1@circle", "circle", 0),
        ("8", "p2", "area", 1),
    ]
    assert data.info.counts["questions_with_several_sets"] == 1
    assert data.table("responses.parquet")["timestamp"][0] == 1096470300000


def test_a_missing_column_is_named(folder: Path) -> None:
    (folder / "2015_100_skill_builders_main_problems.csv").write_text("user_id,log_id,sequenceid,correct\nu1,1,s,1\n")
    with pytest.raises(DataError, match=r"no column 'sequence_id'; did you mean 'sequenceid'"):
        imported(folder, "assist2015")
