//! Arrow's types in the words of definition files.

use arrow::datatypes::DataType as ArrowType;

/// What messages call a column's type: the name that definition files have for it, or Arrow's where they
/// have none.
pub fn type_name(found: &ArrowType) -> String {
    use ArrowType as A;
    match found {
        A::Boolean => "bool".into(),
        A::Int32 => "int32".into(),
        A::Int64 => "int64".into(),
        A::Float32 => "float32".into(),
        A::Float64 => "float64".into(),
        A::Utf8 | A::LargeUtf8 | A::Utf8View => "string".into(),
        A::Binary | A::LargeBinary | A::BinaryView | A::FixedSizeBinary(_) => "bytes".into(),
        A::Date32 => "date".into(),
        A::Timestamp(_, Some(_)) => "timestamp".into(),
        A::Timestamp(_, None) => "timestamp without a zone".into(),
        A::Decimal32(precision, scale)
        | A::Decimal64(precision, scale)
        | A::Decimal128(precision, scale)
        | A::Decimal256(precision, scale) => format!("decimal({precision},{scale})"),
        A::List(item) | A::LargeList(item) | A::ListView(item) => {
            format!("list<{}>", type_name(item.data_type()))
        }
        A::FixedSizeList(item, length) if *item.data_type() == A::Float32 => format!("embedding({length})"),
        A::Struct(fields) => {
            let fields = fields
                .iter()
                .map(|field| format!("{}: {}", field.name(), type_name(field.data_type())));
            format!("struct<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        A::Dictionary(_, values) => type_name(values),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::TimeUnit;
    use asof_core::data_type::DataType;

    #[test]
    fn a_type_of_ours_is_called_by_its_name() {
        for text in [
            "bool",
            "int32",
            "int64",
            "float32",
            "float64",
            "string",
            "bytes",
            "date",
            "timestamp",
            "decimal(6,2)",
            "list<string>",
            "embedding(3)",
            "struct<a: int64, b: list<string>>",
        ] {
            assert_eq!(type_name(&DataType::parse(text).unwrap().to_arrow()), text);
        }
    }

    #[test]
    fn others_are_called_what_they_are() {
        assert_eq!(
            type_name(&ArrowType::Timestamp(TimeUnit::Microsecond, None)),
            "timestamp without a zone"
        );
        assert_eq!(type_name(&ArrowType::UInt8), "UInt8");
    }
}
