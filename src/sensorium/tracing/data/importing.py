"""Import: a log of learners' answers becomes a tracing data set.

    data = import_tracing("preprocessed/", "assist2009", TracingImportConfig(reader="gervet"))

The steps, in this order: what a reader refuses is set aside with its reason; rows are sorted by (student, time, order,
place in the file); rows that are one answer are made one; a question with several concept sets becomes one question per
set; students with too few rows are set aside; ids are given by first appearance. Everything is written into a folder
beside the target and renamed at the end: a killed import leaves nothing, and two imports of one input give the same
bytes.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field

from sensorium.core.config import Component, Config, component, dump
from sensorium.core.errors import DataError
from sensorium.core.files import atomic_path, sha256_file, write_json, write_parquet
from sensorium.core.home import home
from sensorium.data.schema import Source, SourceFile
from sensorium.data.store import REJECTED_SCHEMA, new_folder
from sensorium.tracing.data import schema
from sensorium.tracing.data.dataset import TracingDataset
from sensorium.tracing.readers.base import TOGETHER, TracingReading

logger = logging.getLogger(__name__)

READERS = "sensorium.readers"


class TracingImportConfig(Config):
    """How a log becomes a tracing data set."""

    reader: component(READERS) = Field(description="the format and its options")  # type: ignore[valid-type]
    name: str | None = Field(None, description="name of the data set; null = that of the target folder")
    licence: str | None = Field(None, description="terms of the data, in a few words")
    min_responses: int = Field(3, ge=1, description="students with fewer rows are set aside")
    pseudonymise: bool = Field(
        False, description="replace students' ids by a keyed hash; the key stays in the data home and in no data set"
    )


def import_tracing(
    path: str | Path, out: str | Path, config: TracingImportConfig, *, overwrite: bool = False
) -> TracingDataset:
    """Import a file or folder into a new data set.

    Raises:
        DataError: The source cannot be read, nothing is left of it, or `out` is there already.
    """
    path, out = Path(path), Path(out)
    chosen: Component = config.reader
    if getattr(chosen.target, "kind", None) != "tracing":
        raise DataError(
            f"reader: '{chosen.name}' reads interactions, not answers of learners: use sensorium data import"
        )
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    with new_folder(out, overwrite=overwrite) as folder:
        try:
            reading: TracingReading = chosen.target(chosen.config).read(path)
            frame = reading.rows.with_row_index("place").collect(engine="streaming").sort("place")
        except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
        write_tables(folder, reading, frame, config, name=config.name or out.absolute().name)
    data = TracingDataset.open(out)
    counts = data.info.counts
    logger.info("imported %s: %s students, %s rows", data.name, counts["students"], counts["responses"])
    return data


def write_tables(
    folder: Path, reading: TracingReading, frame: pl.DataFrame, config: TracingImportConfig, *, name: str
) -> None:
    """Settle the rows of a reading and write the tables and `dataset.json` into an empty folder.

    Raises:
        DataError: No row is left.
    """
    rejected = [frame.filter(pl.col("reason").is_not_null())]
    rows = frame.filter(pl.col("reason").is_null()).drop("reason")
    sets = _concept_sets(rows["concepts"])
    rows = rows.with_columns(pl.col("concepts").replace_strict(sets, return_dtype=pl.String))
    has_time = bool(rows.height) and not rows["timestamp"].null_count() and rows["timestamp"].n_unique() > 1
    rows = _sorted(rows, has_time)
    counts: dict[str, int] = {"source_rows": frame.height}
    if reading.same_order_is_one:
        rows, conflicting, counts["collapsed"] = _same_order_is_one(rows)
        rejected.append(conflicting)
    if reading.expanded:
        rows, counts["collapsed"] = _collapse(rows, has_time)
    if reading.has_questions:
        rows, counts["questions_with_several_sets"] = _questions_by_set(rows)
    else:  # a question is its one concept
        several = pl.col("concepts").str.contains(TOGETHER, literal=True)
        rejected.append(rows.filter(several).with_columns(reason=pl.lit("several concepts and no question")))
        rows = rows.filter(~several).with_columns(question_id=pl.col("concepts"))
    long = pl.len().over("student_id") >= config.min_responses
    short = rows.filter(~long)
    rejected.append(short.with_columns(reason=pl.lit(f"student with fewer than {config.min_responses} answers")))
    counts["short_students"] = short["student_id"].n_unique()
    rows = rows.filter(long)
    refused = pl.concat([part.select("file", "row", "reason") for part in rejected])
    if config.pseudonymise and reading.files_of_students:
        refused = refused.with_columns(file=_hidden_files(refused["file"]))
    if not rows.height:
        reasons = ", ".join(
            f"{n:,} {reason}" for reason, n in refused.group_by("reason").len().sort("reason").iter_rows()
        )
        raise DataError(f"no answer is left to import (set aside: {reasons or 'none'})")
    tables = _tables(rows, has_time, reading, config)
    tables[schema.REJECTED] = refused.with_columns(column=pl.lit(None), detail=pl.lit(None)).select(
        pl.col(column).cast(dtype) for column, dtype in REJECTED_SCHEMA.items()
    )
    for table, content in tables.items():
        write_parquet(folder / table, content.rechunk())
    links = tables[schema.QUESTION_CONCEPTS].group_by("question").len()
    multi = links.filter(pl.col("len") > 1)["question"]
    by_reason = {f"rejected: {reason}": n for reason, n in refused.group_by("reason").len().sort("reason").iter_rows()}
    responses = tables[schema.RESPONSES]
    info = schema.TracingInfo(
        name=name,
        licence=config.licence or reading.licence,
        source=_source(reading, config),
        counts={
            "students": tables[schema.STUDENTS].height,
            "questions": tables[schema.QUESTIONS].height,
            "concepts": tables[schema.CONCEPTS].height,
            "links": tables[schema.QUESTION_CONCEPTS].height,
            "responses": responses.height,
            "right": int(responses["response"].cast(pl.Int64).sum()),
            "rejected": refused.height,
            **counts,
            **by_reason,
        },
        multi_concept_share=float(responses["question"].is_in(multi.implode()).cast(pl.Float64).to_numpy().mean()),
        has_questions=reading.has_questions,
        has_time=has_time,
        response_rule=reading.rule,
        pseudonymised=config.pseudonymise,
        checksums={table: sha256_file(folder / table) for table in tables},
        notices=list(reading.notices),
    )
    write_json(folder / schema.DESCRIPTION, dump(info))


# --- rows -----------------------------------------------------------------------------------------------------------


def _concept_sets(column: pl.Series) -> dict[str, str]:
    """Return for every distinct text of concepts the set that it names: sorted, without repetition."""
    found = {}
    for value in column.unique().to_list():
        members = {part.strip() for part in value.split(TOGETHER)} - {""}
        found[value] = TOGETHER.join(sorted(members, key=lambda part: (len(part), part)))
    return found


def _sorted(rows: pl.DataFrame, has_time: bool) -> pl.DataFrame:
    """Sort by (student in order of appearance, time, order, place in the file)."""
    keys = [pl.col("place").min().over("student_id").alias("_appears")]
    by = ["_appears", *(["timestamp"] if has_time else []), "order", "place"]
    return rows.with_columns(keys).sort(by, nulls_last=True).drop("_appears")


def _same_order_is_one(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Make rows of one student with one order id one answer with all their concepts.

    Returns:
        The rows, those that contradict the first of their answer, and how many rows were joined to another one.
    """
    group = ["student_id", "order"]
    agrees = pl.all_horizontal(
        (pl.col(name) == pl.col(name).first().over(group)) for name in ("question_id", "response")
    )
    reason = pl.lit("contradicts another row of the same order id")
    conflicting = rows.filter(~agrees).with_columns(reason=reason)
    kept = rows.filter(agrees)
    joined = kept.group_by(group, maintain_order=True).agg(
        pl.col("concepts").str.join(TOGETHER), pl.all().exclude("concepts", *group).first()
    )
    sets = _concept_sets(joined["concepts"])
    joined = joined.with_columns(pl.col("concepts").replace_strict(sets, return_dtype=pl.String))
    return joined, conflicting, kept.height - joined.height


def _collapse(rows: pl.DataFrame, has_time: bool) -> tuple[pl.DataFrame, int]:
    """Make consecutive rows one where a source has one row per concept.

    Rows of one student with one question, one response and one time are one answer as long as their concepts differ; a
    concept that comes again begins a new attempt.
    """
    same = ["student_id", "question_id", "response", *(["timestamp"] if has_time else [])]
    changes = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift(1)) for name in same).fill_null(True)
    rows = rows.with_columns(_run=changes.cum_sum())
    # How often a concept has been met in its run says which attempt it belongs to.
    rows = rows.with_columns(_attempt=pl.int_range(pl.len()).over("_run", "concepts"))
    joined = (
        rows.group_by("_run", "_attempt", maintain_order=True)
        .agg(pl.col("concepts").str.join(TOGETHER), pl.all().exclude("concepts", "_run", "_attempt").first())
        .sort("_run", "_attempt")
        .drop("_run", "_attempt")
    )
    sets = _concept_sets(joined["concepts"])
    return joined.with_columns(
        pl.col("concepts").replace_strict(sets, return_dtype=pl.String)
    ), rows.height - joined.height


def _questions_by_set(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Give a question with several concept sets one id per set, `<question>@<concepts>`; never their union."""
    pairs = rows.select("question_id", "concepts").unique()
    several = pairs.group_by("question_id").len().filter(pl.col("len") > 1)["question_id"]
    shown = pl.col("concepts").str.replace_all(TOGETHER, "_", literal=True)
    own = pl.concat_str([pl.col("question_id"), shown], separator="@")
    changed = pl.when(pl.col("question_id").is_in(several.implode())).then(own).otherwise(pl.col("question_id"))
    return rows.with_columns(question_id=changed), len(several)


def _tables(
    rows: pl.DataFrame, has_time: bool, reading: TracingReading, config: TracingImportConfig
) -> dict[str, pl.DataFrame]:
    """Return the tables by file name, ids by first appearance in the sorted rows."""
    students, student = _dense(rows["student_id"])
    questions, question = _dense(rows["question_id"])
    sets = rows.select("question_id", "concepts").unique("question_id", keep="first", maintain_order=True)
    links = sets.with_columns(pl.col("concepts").str.split(TOGETHER)).explode("concepts")
    concepts, concept = _dense(links["concepts"])
    place = pl.DataFrame({"question_id": questions, "question": range(len(questions))}, schema_overrides=_INT)
    linked = links.with_columns(concept=concept).join(place, on="question_id", how="left", maintain_order="left")
    responses = rows.select(
        student=student,
        question=question,
        response=pl.col("response").cast(pl.Int8),
        order=pl.int_range(pl.len(), dtype=pl.Int32).over("student_id"),
        timestamp=pl.col("timestamp") if has_time else pl.lit(None, dtype=pl.Int64),
        duration_ms="duration_ms",
        attempt="attempt",
        split="split",
    )
    names = [reading.concept_names.get(external) for external in concepts]
    shown = _pseudonyms(students) if config.pseudonymise else students
    return {
        schema.RESPONSES: responses,
        schema.QUESTIONS: place.select("question", "question_id"),
        schema.QUESTION_CONCEPTS: linked.select("question", "concept").sort("question", "concept"),
        schema.CONCEPTS: pl.DataFrame(
            {"concept": range(len(concepts)), "concept_id": concepts, "name": pl.Series(names, dtype=pl.String)},
            schema_overrides=_INT,
        ),
        schema.STUDENTS: pl.DataFrame({"student": range(len(shown)), "student_id": shown}, schema_overrides=_INT),
    }


_INT: dict[str, Any] = {"question": pl.Int32, "concept": pl.Int32, "student": pl.Int32}


def _dense(column: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return the distinct values in order of appearance, and each row's place among them, int32."""
    distinct = column.unique(maintain_order=True)
    return distinct, column.cast(pl.Enum(distinct)).to_physical().cast(pl.Int32)


# --- people ---------------------------------------------------------------------------------------------------------


def _pseudonyms(ids: pl.Series) -> pl.Series:
    """Return a keyed hash of each id, 16 hexadecimal digits; without the key, ids cannot be tried out."""
    key = _key()
    hashed = [hashlib.blake2b(value.encode(), key=key, digest_size=8).hexdigest() for value in ids]
    return pl.Series(hashed, dtype=pl.String)


def _hidden_files(names: pl.Series) -> pl.Series:
    """Return names of files that are students' ids with their pseudonyms instead."""
    shown = names.unique(maintain_order=True)
    hidden = _pseudonyms(shown.str.strip_suffix(".csv")) + ".csv"
    return names.replace_strict(shown, hidden, return_dtype=pl.String)


def _key() -> bytes:
    """Return the key of this data home; it is made once, readable by its owner alone."""
    file = home() / "pseudonyms.key"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(secrets.token_hex(32), encoding="ascii")
    return bytes.fromhex(file.read_text(encoding="ascii").strip())


def _source(reading: TracingReading, config: TracingImportConfig) -> Source:
    chosen: Component = config.reader
    files = [SourceFile(name=file.name, sha256=sha256_file(file), bytes=file.stat().st_size) for file in reading.files]
    if reading.files_of_students:
        files.append(_folder_of_students(reading.files_of_students))
    return Source(reader=chosen.name, options={**dump(config), "reader": chosen.tree()}, files=files)


def _folder_of_students(files: Sequence[Path]) -> SourceFile:
    """Describe files, each of one student, by their folder: their names are ids of people."""
    each = "".join(sha256_file(file) for file in files)
    sha256 = hashlib.sha256(each.encode("ascii")).hexdigest()
    return SourceFile(name=files[0].parent.name, sha256=sha256, bytes=sum(file.stat().st_size for file in files))
