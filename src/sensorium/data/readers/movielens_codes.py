"""What the codes of MovieLens stand for, as the READMEs of its editions say: ages in seven buckets, 21 occupations."""

from __future__ import annotations

import polars as pl

AGE_EDGES = (18, 25, 35, 45, 50, 56)
AGE_NAMES = ("under 18", "18-24", "25-34", "35-44", "45-49", "50-55", "56+")
AGE_OF_CODE = {str(code): name for code, name in zip((1, *AGE_EDGES), AGE_NAMES, strict=True)}
OCCUPATIONS = (
    "other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service",
    "doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer", "programmer",
    "retired", "sales/marketing", "scientist", "self-employed", "technician/engineer", "tradesman/craftsman",
    "unemployed", "writer",
)  # fmt: skip
OCCUPATION_OF_CODE = {str(code): name for code, name in enumerate(OCCUPATIONS)}


def age_bucket(column: str = "age") -> pl.Expr:
    """Return a column of years as the seven buckets of MovieLens-1M; what is no age is missing."""
    age = pl.col(column).cast(pl.Int32, strict=False)
    passed = pl.sum_horizontal([(age >= edge).cast(pl.Int32) for edge in AGE_EDGES])
    return pl.when(age.is_not_null()).then(passed.replace_strict(dict(enumerate(AGE_NAMES)), return_dtype=pl.String))
