"""What an import that hides people writes holds no id of theirs: in no table, no name of a file, no description."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.tracing.readers.test_assistments import imported
from tests.tracing.readers.test_sequences import save_csr

from sensorium.core import registry
from sensorium.core.files import read_parquet
from sensorium.tracing.data.importing import READERS

ONE, TWO = "7700145", "7700238"  # the ids of the two people, in the file of each format


def lines(folder: Path, name: str, header: str, *rows: str, sep: str = ",") -> None:
    """Write a table; "," stands for the separator, "{}" for a person: every row once for each."""
    text = "\n".join([header, *(row.replace("{}", who) for who in (ONE, TWO) for row in rows)]) + "\n"
    (folder / name).write_text(text.replace(",", sep))


def assist2009(folder: Path) -> None:
    lines(folder, "skill_builder_data.csv", "order_id,user_id,problem_id,skill_id,correct", "1,{},p,1,1", "x,{},p,1,1")


def assist2012(folder: Path) -> None:
    header, time = "user_id,problem_id,skill_id,correct,start_time", "2012-10-01 10:00:00"
    name = "2012-2013-data-with-predictions-4-final.csv"
    lines(folder, name, header, f"{{}},p,1,1,{time}", f"{{}},p,1,.5,{time}")


def assist2015(folder: Path) -> None:
    name = "2015_100_skill_builders_main_problems.csv"
    lines(folder, name, "user_id,log_id,sequence_id,correct", "{},1,s,1", "{},2,s,.5")


def assist2017(folder: Path) -> None:
    name = "anonymized_full_release_competition_dataset.csv"
    lines(folder, name, "studentId,problemId,skill,correct,startTime", "{},p,s,1,100", "{},p,,1,101")


def kdd_cup(name: str, skills: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        header = "Anon Student Id,Problem Name,Step Name,First Transaction Time,Correct First Attempt," + skills
        time = "2005-09-09 12:24:35.0"
        lines(folder, name, header, f"{{}},P,S,{time},1,k", f"{{}},P,S,{time},1,", sep="\t")

    return write


def statics2011(folder: Path) -> None:
    header = "Anon Student Id,Problem Name,Step Name,First Transaction Time,First Attempt,KC (F2011)"
    time = "2011/09/21 17:36"
    name = "AllData_student_step_2011F.csv"
    lines(folder, name, header, f"{{}},P,S,{time},correct,k", f"{{}},P,S,{time},hint,k")


def neurips34(folder: Path) -> None:
    lines(folder, "train_task_3_4.csv", "QuestionId,UserId,AnswerId,IsCorrect", "1,{},10,1", "2,{},10,1")
    (folder / "answer_metadata_task_3_4.csv").write_text("AnswerId,DateAnswered\n10,2020-03-02 10:00:00.000\n")
    (folder / "question_metadata_task_3_4.csv").write_text("QuestionId,SubjectId\n1,[9]\n")
    (folder / "subject_metadata.csv").write_text("SubjectId,Name,Level\n9,Factors,3\n")


def ednet(folder: Path) -> None:
    (folder / "contents").mkdir()
    (folder / "contents" / "questions.csv").write_text("question_id,correct_answer,tags\nq1,b,1\nq2,b,-1\n")
    (folder / "KT1").mkdir()
    for who in (ONE, TWO):
        text = "timestamp,question_id,user_answer\n1565096190868,q1,b\n1565096190869,q2,b\n"
        (folder / "KT1" / f"u{who}.csv").write_text(text)


def poj(folder: Path) -> None:
    time = "2019-07-30 23:01:45"
    lines(folder, "poj_log.csv", "User,Submit Time,Problem,Result", f"{{}},{time},1,Accepted", f"{{}},{time},1,Waiting")


def pykt(folder: Path) -> None:
    lines(folder, "train_valid.csv", "fold,uid,questions,concepts,responses", "0,{},1,2,1", "0,{},1,2,")


def gervet(folder: Path) -> None:
    for part in ("train", "test"):
        name = f"preprocessed_data_{part}.csv"
        lines(folder, name, "user_id,item_id,timestamp,correct", "{},0,0,1", "{},1,0,1", sep="\t")
    save_csr(folder / "q_mat.npz", [[0], []], columns=1)


def akt(folder: Path) -> None:
    for fold, who in enumerate((ONE, TWO), start=1):
        (folder / f"fold{fold}.csv").write_text(f"{fold},{who}\n3,4\n7,8\n1,0.5\n")


SOURCES: dict[str, Callable[[Path], None]] = {
    "assist2009": assist2009,
    "assist2012": assist2012,
    "assist2015": assist2015,
    "assist2017": assist2017,
    "algebra05": kdd_cup("algebra_2005_2006_train.txt", "KC(Default)"),
    "bridge06": kdd_cup("bridge_to_algebra_2006_2007_train.txt", "KC(SubSkills)"),
    "statics2011": statics2011,
    "neurips34": neurips34,
    "ednet": ednet,
    "poj": poj,
    "pykt": pykt,
    "gervet": gervet,
    "akt": akt,
}


def everything(folder: Path) -> str:
    """Return all that a folder holds as text: names, tables cell by cell, descriptions, bytes."""
    parts = []
    for file in sorted(folder.rglob("*")):
        parts += [str(file.relative_to(folder)), file.read_bytes().decode("latin-1")]
        if file.suffix == ".parquet":
            parts += [str(value) for row in read_parquet(file).rows() for value in row]
    return "\n".join(parts)


def test_every_reader_has_a_source_here() -> None:
    kinds = {name: getattr(registry.get(READERS, name), "kind", None) for name in registry.names(READERS)}
    assert {name for name, kind in kinds.items() if kind == "tracing"} == set(SOURCES)


@pytest.mark.parametrize("reader", SOURCES)
def test_no_id_of_a_person_is_written(reader: str, folder: Path, sensorium_home: Path) -> None:
    SOURCES[reader](folder)
    plain = everything(imported(folder, reader).root)
    assert ONE in plain
    assert TWO in plain
    hidden = imported(folder, reader, out="hidden", pseudonymise=True)
    assert hidden.table("rejected.parquet").height >= 2
    assert hidden.info.counts["students"] == 2
    for who in (ONE, TWO):
        assert who not in everything(hidden.root)


def test_files_of_students_stand_as_their_folder_and_are_named_by_pseudonyms(
    folder: Path, sensorium_home: Path
) -> None:
    ednet(folder)
    plain = imported(folder, "ednet")
    files = {file.name: file for file in plain.info.source.files}
    assert set(files) == {"questions.csv", "KT1"}
    assert files["KT1"].bytes == sum(file.stat().st_size for file in (folder / "KT1").iterdir())
    assert plain.table("rejected.parquet")["file"].to_list() == [f"u{ONE}.csv", f"u{TWO}.csv"]
    hidden = imported(folder, "ednet", out="hidden", pseudonymise=True)
    students = hidden.table("students.parquet")["student_id"]
    assert hidden.table("rejected.parquet")["file"].to_list() == [f"{student}.csv" for student in students]
    (folder / "KT1" / f"u{TWO}.csv").write_text("timestamp,question_id,user_answer\n1565096190868,q1,a\n")
    changed = {file.name: file for file in imported(folder, "ednet", out="changed").info.source.files}
    assert changed["KT1"].sha256 != files["KT1"].sha256
