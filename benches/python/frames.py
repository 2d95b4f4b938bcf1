"""Data frames of a dataset, as files that the bench compares."""

import pandas
import pyarrow
import pyarrow.parquet

#: Types of the features, by the names that definitions give them.
TYPES = {"float64": pyarrow.float64(), "int64": pyarrow.int64()}


def write(frame: pandas.DataFrame, spine: str, features: list[tuple[str, str, str]], out: str) -> None:
    """Writes the spine's columns and the features (column of the frame, column of the dataset, type). Whole numbers with
    nulls, which pandas has as float64 with NaN, become whole numbers again.
    """
    names = pyarrow.parquet.read_schema(spine)
    columns = {field.name: pyarrow.array(frame[field.name], field.type, from_pandas=True) for field in names}
    for found, name, data_type in features:
        columns[name] = pyarrow.array(frame[found], from_pandas=True).cast(TYPES[data_type])
    pyarrow.parquet.write_table(pyarrow.table(columns), out)
