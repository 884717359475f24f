"""The recipe of docs/scale.md for Spark; skipped where Spark is not installed."""

from __future__ import annotations

import pyarrow.parquet
import pytest
import spacy
from scale_world import make_texts


@pytest.mark.slow
def test_the_recipe_for_map_in_pandas_gives_the_rows_of_one_machine(tmp_path, rules, recipes):
    pytest.importorskip("pyspark", reason="Spark is not installed: pip install pyspark")
    from pyspark.sql import SparkSession

    records = make_texts(50)
    records[33]["text"] = ""
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "texts.parquet")
    session = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        recipes["find_on_spark"](session, str(tmp_path / "texts.parquet"), str(tmp_path / "found"), str(rules))
    finally:
        session.stop()
    rows = sorted(pyarrow.parquet.read_table(tmp_path / "found").to_pylist(), key=lambda row: int(row["id"][1:]))
    assert [row["text"] for row in rows] == [record["text"] for record in records]
    assert [row["id"] for row in rows if row["problem"]] == ["t33"]
    nlp = spacy.load(rules)
    for row in rows:
        found = [(one["start"], one["end"], one["label"], one["score"], one["text"]) for one in row["entities"]]
        assert found == [(e.start_char, e.end_char, e.label_, None, e.text) for e in nlp(row["text"]).ents]
