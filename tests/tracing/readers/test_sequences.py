"""The formats of pyKT, AKT and Gervet: one line or block per student, folds, expanded rows, Q-matrix."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.tracing.readers.test_assistments import imported, rejected, rows

from sensorium.core.errors import DataError
from sensorium.tracing.readers.gervet import read_q_matrix
from sensorium.tracing.readers.sequences import AktReader, PyktReader


def test_pykt_rejoins_students_and_drops_padding(folder: Path) -> None:
    (folder / "train_valid.csv").write_text(
        "fold,uid,questions,concepts,responses,timestamps,selectmasks\n"
        '0,a,"1,2,3","5_6,5,7","1,0,1","10,20,30","1,1,1"\n'
        '1,b,"1,2","5_6,5","0,1","10,20","1,1"\n'
        '0,a,"4,-1,-1","6,-1,-1","0,-1,-1","40,-1,-1","1,-1,-1"\n'
    )
    (folder / "test.csv").write_text(
        'fold,uid,questions,concepts,responses,timestamps\n-1,c,"1,2","5_6,5","1,1","5,4"\n-1,d,"1,2","5_6,5","1","5,4"\n'
    )
    data = imported(folder, "pykt")
    assert [row for row in rows(data) if row[0] == "a"] == [
        ("a", "1", "5+6", 1), ("a", "2", "5", 0), ("a", "3", "7", 1), ("a", "4", "6", 0),
    ]  # fmt: skip
    assert [row[1] for row in rows(data) if row[0] == "c"] == ["2", "1"]  # by time
    assert list(data.source_split) == ["0", "1", "test"]
    assert rejected(data) == {"lists of one line differ in length": 1}


def test_pykt_empty_entries_are_set_aside_with_their_reason(folder: Path) -> None:
    (folder / "train_valid.csv").write_text(
        'fold,uid,questions,concepts,responses\n0,a,"1,2,3,4","5,6,7,8","1,,0,1"\n1,b,"1,2,3","5,,7","1,0,1"\n'
        '2,c,"1,2","5,6",",1"\n3,d,"1,2","5,6",\n'
    )
    data = imported(folder, "pykt")
    assert [row[:2] for row in rows(data)] == [("a", "1"), ("a", "3"), ("a", "4"), ("b", "1"), ("b", "3"), ("c", "2")]
    assert rejected(data) == {"no response": 2, "no concept": 1, "lists of one line differ in length": 1}
    assert data.info.counts["source_rows"] == data.info.counts["responses"] + data.info.counts["rejected"]


def test_pykt_expanded_entries_that_are_empty_are_set_aside_with_their_reason(folder: Path) -> None:
    (folder / "train_valid.csv").write_text(
        'fold,uid,questions,concepts,responses,is_repeat\n0,a,"1,1,2,3,3,4","5,6,,7,8,5","1,1,0,,,0","0,1,0,0,1,"\n'
    )
    data = imported(folder, "pykt")
    assert [row[1:] for row in rows(data)] == [("1", "5+6", 1), ("4", "5", 0)]
    assert rejected(data) == {"no concept": 1, "no response": 1}


def test_pykt_expanded_rows_are_one_answer_again(folder: Path) -> None:
    (folder / "train_valid.csv").write_text(
        'fold,uid,questions,concepts,responses,is_repeat\n0,a,"1,1,2,1,1,1","5,6,5,5,6,5","1,1,0,1,1,0","0,1,0,0,1,0"\n'
    )
    data = imported(folder, "pykt")
    assert [(row[1], row[2], row[3]) for row in rows(data)] == [
        ("1@5_6", "5+6", 1), ("2", "5", 0), ("1@5_6", "5+6", 1), ("1@5", "5", 0),
    ]  # fmt: skip


def test_expanded_rows_without_marks_collapse_while_concepts_differ(folder: Path) -> None:
    (folder / "train_valid.csv").write_text(
        'fold,uid,questions,concepts,responses\n0,a,"1,1,1,1,2,3,3","5,6,5,6,5,8,8","1,1,1,1,1,0,0"\n'
    )
    data = imported(folder, "pykt")
    # (1; 5, 6) twice: a concept that comes again begins a new attempt; (3; 8) twice stays two answers
    assert [(row[1], row[2], row[3]) for row in rows(data)] == [
        ("1", "5+6", 1), ("1", "5+6", 1), ("2", "5", 1), ("3", "8", 0), ("3", "8", 0),
    ]  # fmt: skip
    assert data.info.counts["collapsed"] == 2


def test_pykt_without_questions_and_several_files(folder: Path) -> None:
    (folder / "train_valid_sequences.csv").write_text('fold,uid,concepts,responses\n0,a,"5,6","1,0"\n')
    assert not imported(folder, "pykt").info.has_questions
    (folder / "train_valid_quelevel.csv").write_text('fold,uid,concepts,responses\n0,a,"5,6","1,0"\n')
    with pytest.raises(DataError, match="several files begin with train_valid"):
        PyktReader().read(folder)


def test_pykt_blocks_of_six_lines(folder: Path) -> None:
    (folder / "data.txt").write_text("s1,2\n1,2\n5_6,7\n1,0\n100,50\nNA\ns2,1\n1\n5_6\n0\n5\nNA\n")
    data = imported(folder, "pykt")
    assert rows(data) == [("s1", "2", "7", 0), ("s1", "1", "5+6", 1), ("s2", "1", "5+6", 0)]


def test_akt_four_lines_with_external_ids(folder: Path) -> None:
    (folder / "fold1.csv").write_text("1,500\n2,1,2,\n7,8,7,\n1.0,0.0,1.0,\n")
    (folder / "fold2.csv").write_text("2,501\n1,2,1\n8,7,7\n0,1,0.5\n")
    (folder / "problems.json").write_text(json.dumps({"p-one": 1, "p-two": 2}))
    (folder / "skill.json").write_text(json.dumps({"area": 7, "volume": 8}))
    data = imported(folder, "akt")
    assert rows(data) == [
        ("500", "p-two", "7", 1), ("500", "p-one", "8", 0), ("500", "p-two", "7", 1),
        ("501", "p-one", "8", 0), ("501", "p-two", "7", 1),
    ]  # fmt: skip
    assert rejected(data) == {"response is neither 0 nor 1": 1}
    assert list(data.source_split) == ["test", "fold2"]
    assert data.table("concepts.parquet")["name"].to_list() == ["area", "volume"]


def test_akt_three_lines_whose_header_is_a_length(folder: Path) -> None:
    (folder / "fold1.csv").write_text("3\n7,8,7\n1,0,1\n3\n7,8,7\n1,0,1\n")
    data = imported(folder, "akt")
    assert data.info.counts["students"] == 2  # equal sequences are two students
    assert data.table("students.parquet")["student_id"].to_list() == ["fold1:1", "fold1:2"]
    assert not data.info.has_questions


def test_akt_four_lines_whose_first_students_have_two_answers(folder: Path) -> None:
    """As many entries as a header has: the first student alone does not tell three lines from four."""
    (folder / "fold1.csv").write_text("1,500\n3,4\n7,8\n1,0\n2,501\n4,3\n8,7\n0,1\n3,502\n3,4,5\n7,8,7\n1,1,0\n")
    data = imported(folder, "akt")
    assert data.info.has_questions
    assert rows(data) == [
        ("500", "3", "7", 1), ("500", "4", "8", 0), ("501", "4", "8", 0), ("501", "3", "7", 1),
        ("502", "3", "7", 1), ("502", "4", "8", 1), ("502", "5", "7", 0),
    ]  # fmt: skip


def test_akt_three_lines_with_two_numbers_in_the_header(folder: Path) -> None:
    text = "".join(f"{n},50{n}\n7,8\n{n % 2},1\n" for n in range(4))  # 12 lines, which are blocks of four too
    (folder / "fold1.csv").write_text(text)
    data = imported(folder, "akt")
    assert not data.info.has_questions
    assert data.table("students.parquet")["student_id"].to_list() == ["500", "501", "502", "503"]


def test_akt_one_odd_student_does_not_decide(folder: Path) -> None:
    (folder / "fold1.csv").write_text("1,500\n3,4\n7,8,7\n1,0\n2,501\n4,3\n8,7\n0,1\n3,502\n3,4\n7,8\n1,1\n")
    data = imported(folder, "akt")
    assert data.info.has_questions
    assert rejected(data) == {"lists of one student differ in length": 1}


def test_akt_lines_that_fit_both_or_neither_are_refused(folder: Path) -> None:
    (folder / "fold1.csv").write_text("1,1\n" * 12)
    with pytest.raises(DataError, match="fit 3 and 4 per student alike: say which with the reader's option lines"):
        imported(folder, "akt")
    assert imported(folder, {"name": "akt", "lines": 3}).info.counts["responses"] == 8
    (folder / "fold1.csv").write_text("1,500,9\n3,4\n7,8\n1,0\n")
    with pytest.raises(DataError, match="fit neither 3 nor 4 per student"):
        AktReader().read(folder)


def test_akt_cut_short(folder: Path) -> None:
    (folder / "fold1.csv").write_text("1,500\n2,1,2\n7,8,7\n1,0,1\n2,501\n1,2\n")
    with pytest.raises(DataError, match="the last one is cut short"):
        imported(folder, "akt")


def gervet(folder: Path) -> None:
    header = "user_id\titem_id\ttimestamp\tcorrect\tskill_id\n"
    (folder / "preprocessed_data_train.csv").write_text(header + "0\t1\t0\t1\t9\n0\t0\t0\t0\t9\n0\t2\t0\t1\t9\n")
    (folder / "preprocessed_data_test.csv").write_text(header + "1\t0\t0\t1\t8\n1\t7\t0\t1\t8\n")
    save_csr(folder / "q_mat.npz", [[0, 1], [1], []], columns=2)


def save_csr(file: Path, members: list[list[int]], columns: int) -> None:
    flat = [column for row in members for column in row]
    pointers = np.cumsum([0, *map(len, members)])
    np.savez(
        file,
        indices=np.array(flat, dtype=np.int32),
        indptr=pointers.astype(np.int32),
        format=np.array(b"csr"),
        shape=np.array([len(members), columns]),
        data=np.ones(len(flat)),
    )


def test_gervet_concepts_come_from_the_q_matrix(folder: Path) -> None:
    gervet(folder)
    data = imported(folder, "gervet")
    assert rows(data) == [("0", "1", "1", 1), ("0", "0", "0+1", 0), ("1", "0", "0+1", 1)]
    assert rejected(data) == {"no concept": 2}
    assert list(data.source_split) == ["train", "test"]
    assert not data.info.has_time  # timestamps of 0 everywhere are no times


def test_gervet_refuses_a_matrix_with_python_objects(folder: Path) -> None:
    gervet(folder)
    np.savez(
        folder / "q_mat.npz", indices=np.array([{}], dtype=object), indptr=np.array([0, 1]), format=np.array(b"csr")
    )
    with pytest.raises(DataError, match="without Python objects"):
        read_q_matrix(folder / "q_mat.npz")
