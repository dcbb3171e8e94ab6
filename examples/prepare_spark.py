"""Prepare documents on a Spark cluster; `curatord curate FOLDER -o OUTPUT` goes on with what it writes.

spark-submit examples/prepare_spark.py documents.jsonl FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql.functions import lit
from pyspark.sql.pandas.types import from_arrow_schema

import curatord


def prepare_all(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Every batch of a task."""
    return map(curatord.prepare, batches)


def main(source: str, folder: str) -> None:
    """The rows of JSON lines, each with its place, through `curatord.prepare`, to Parquet."""
    spark = SparkSession.builder.getOrCreate()
    documents = spark.read.json(source)
    schema = documents.schema.add("position", "long")
    numbered = documents.rdd.zipWithIndex().map(lambda row: (*row[0], row[1])).toDF(schema)
    nothing = pa.RecordBatch.from_pylist([], pa.schema([("text", pa.string()), ("position", pa.int64())]))
    prepared_schema = from_arrow_schema(curatord.prepare(nothing).schema.remove_metadata())
    rows = numbered.withColumn("input", lit(source)).mapInArrow(prepare_all, prepared_schema)
    rows.sortWithinPartitions("position").write.parquet(folder)


if __name__ == "__main__":
    main(*sys.argv[1:3])
