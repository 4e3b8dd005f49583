"""Logs in DataShop's format, Eedi's tables, EdNet's folders and the online judge, each with its traps."""

from pathlib import Path

import pytest
from tests.tracing.readers.test_assistments import imported, rejected, rows

from sensorium.core.errors import DataError

KDD = ["Anon Student Id", "Problem Name", "Step Name", "First Transaction Time", "Correct First Attempt"]


@pytest.mark.parametrize(
    ("reader", "file", "skills"),
    [
        ("algebra05", "algebra_2005_2006_train.txt", "KC(Default)"),
        ("bridge06", "bridge_to_algebra_2006_2007_train.txt", "KC(SubSkills)"),
    ],
)
def test_kdd_cup(folder: Path, reader: str, file: str, skills: str) -> None:
    lines = [
        [*KDD, skills],
        ["s1", "EG4", "3(x+2) = 15", "2005-09-09 12:24:35.0", "0", 'Rule "a"~~Rule b~~Rule b'],
        ["s1", "EG4", "x+2 = 5", "2005-09-09 12:24:10.0", "1", "Rule b"],
        ["s1", "EG4", "3x = 9", "2005-09-09 12:25:10.0", "1", ""],
        ["s1", "EG5", "3(x+2) = 15", "", "1", "Rule b"],
    ]
    (folder / file).write_text("\n".join("\t".join(line) for line in lines) + "\n")
    data = imported(folder, reader)
    assert rows(data) == [
        ("s1", "EG4----x+2 = 5", "Rule b", 1),
        ("s1", "EG4----3(x+2) = 15", 'Rule "a"+Rule b', 0),
    ]
    assert rejected(data) == {"no concept": 1, "no time": 1}


STATICS = (
    "Row,Anon Student Id,Problem Name,Step Name,First Transaction Time,First Attempt,KC (F2011)\n"
    "1,s1,_m2_assess,q1 i1,2011/09/21 17:36,hint,a\n"
    '2,s1,"p, with comma",q2,2011/09/21 17:35,correct,a~~b\n'
    "3,s1,p3,q3,2011/09/21 17:37,incorrect,a\n"
)


def test_statics_hints(folder: Path) -> None:
    (folder / "AllData_student_step_2011F.csv").write_text(STATICS)
    data = imported(folder, "statics2011")
    assert rows(data) == [("s1", "p, with comma----q2", "a+b", 1), ("s1", "p3----q3", "a", 0)]
    assert rejected(data) == {"first attempt is a hint": 1}


def test_statics_hints_as_wrong_and_without_skills(folder: Path) -> None:
    text = "\n".join(",".join(line.split(",")[:6]) for line in STATICS.replace('"p, with comma"', "p2").splitlines())
    (folder / "AllData_student_step_2011F.csv").write_text(text + "\n")
    data = imported(folder, {"name": "statics2011", "hint_as_wrong": True})
    assert [row[3] for row in rows(data)] == [1, 0, 0]
    assert not data.info.has_questions


def eedi(folder: Path, subjects: str = "[3, 71, 98]") -> None:
    (folder / "train_task_3_4.csv").write_text(
        "QuestionId,UserId,AnswerId,IsCorrect,CorrectAnswer,AnswerValue\n"
        "1,u,10,1,2,2\n2,u,11,0,2,1\n3,u,12,1,1,1\n9,u,13,1,1,1\n"
    )
    meta = folder / "metadata"
    meta.mkdir()
    (meta / "answer_metadata_task_3_4.csv").write_text(
        "AnswerId,DateAnswered\n10,2020-03-02 10:00:00.000\n11,2020-03-01 10:00:00.000\n12,2020-03-03 10:00:00.000\n"
        "13,2020-03-03 10:00:00.000\n"
    )
    (meta / "question_metadata_task_3_4.csv").write_text(
        f'QuestionId,SubjectId\n1,"{subjects}"\n2,"[3, 98, 99]"\n3,"[3, 71]"\n'
    )
    (meta / "subject_metadata.csv").write_text(
        "SubjectId,Name,ParentId,Level\n3,Maths,NULL,0\n71,Number,3,2\n98,Factors,71,3\n99,Multiples,71,3\n"
    )


def test_eedi_joins_its_tables(folder: Path) -> None:
    eedi(folder)
    data = imported(folder, "neurips34")
    assert rows(data) == [("u", "2", "98+99", 0), ("u", "1", "98", 1)]
    assert rejected(data) == {"no concept": 2}  # one without a subject of level 3, one that is not listed
    assert set(data.table("concepts.parquet")["name"]) == {"Factors", "Multiples"}


def test_eedi_reads_lists_as_json_and_never_as_code(folder: Path) -> None:
    eedi(folder, subjects="__import__('os').getcwd()")
    with pytest.raises(DataError, match="must be a list of numbers"):
        imported(folder, "neurips34")


def ednet(folder: Path) -> None:
    (folder / "contents").mkdir()
    (folder / "contents" / "questions.csv").write_text(
        "question_id,bundle_id,explanation_id,correct_answer,part,tags,deployed_at\n"
        "q1,b1,e1,b,1,1;2;179,1\nq2,b2,e2,a,1,-1,1\nq3,b3,e3,c,1,7,1\n"
    )
    (folder / "KT1").mkdir()
    header = "timestamp,solving_id,question_id,user_answer,elapsed_time\n"
    (folder / "KT1" / "u2.csv").write_text(
        header + "1565096190868,1,q1,b,38000\n1565096180000,2,q3,a,24000\n1565096170000,3,q2,a,24000\n"
    )
    (folder / "KT1" / "u10.csv").write_text(header + "1565096190868,1,q2,a,1000\n1565096190869,2,q3,c,-1\n")


def test_ednet(folder: Path) -> None:
    ednet(folder)
    data = imported(folder, "ednet")
    assert rows(data) == [("u2", "q3", "7", 0), ("u2", "q1", "1+179+2", 1), ("u10", "q3", "7", 1)]
    assert rejected(data) == {"no concept": 2}
    lines = data.table("rejected.parquet").select("file", "row").rows()
    assert lines == [("u2.csv", 4), ("u10.csv", 2)]  # within its file, the header is line 1
    assert data.table("responses.parquet")["duration_ms"].to_list() == [24000, 38000, -1]


def test_ednet_draws_students_by_seed(folder: Path) -> None:
    ednet(folder)
    data = imported(folder, {"name": "ednet", "students": 1, "seed": 3})
    assert data.info.counts["students"] == 1


def test_online_judge(folder: Path) -> None:
    (folder / "poj_log.csv").write_text(
        "User,Submit Time,Problem,Result\n"
        "u,2019-07-30 23:01:45,1000,Accepted\nu,2019-07-30 23:00:45,1000,Compile Error\n"
        "u,2019-07-30 23:02:45,1001,Waiting\nu,2019-07-30 23:02:46,1001,Running & Judging\n"
    )
    data = imported(folder, "poj")
    assert rows(data) == [("u", "1000", "1000", 0), ("u", "1000", "1000", 1)]
    assert rejected(data) == {"verdict is not final": 2}
