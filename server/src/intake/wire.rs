//! Pushes as they come in messages.

use asof_offline::PushInput;
use asof_proto::convert::from_proto;
use asof_proto::v1;
use asof_proto::v1::push_request::Rows;
use prost::Message;
use sha2::{Digest, Sha256};

use super::{Push, PushAnswer};
use crate::error::ServerError;

/// What a request pushes.
pub fn push_of(request: v1::PushRequest) -> Result<Push, ServerError> {
    let v1::PushRequest {
        source,
        request_id,
        rows,
    } = request;
    let none = || ServerError::argument("rows", "is missing: give columns, json_lines or arrow_stream");
    let rows = rows.ok_or_else(none)?;
    let (digest, bytes, rows) = match rows {
        Rows::Columns(columns) => {
            let encoded = columns.encode_to_vec();
            (Sha256::digest(&encoded), encoded.len(), columns_of(columns)?)
        }
        Rows::JsonLines(lines) => (Sha256::digest(&lines), lines.len(), PushInput::JsonLines(lines)),
        Rows::ArrowStream(stream) => (
            Sha256::digest(&stream),
            stream.len(),
            PushInput::ArrowStream(stream),
        ),
    };
    Ok(Push {
        source,
        id: (!request_id.is_empty()).then_some(request_id),
        rows,
        digest: digest.into(),
        bytes,
    })
}

fn columns_of(columns: v1::PushColumns) -> Result<PushInput, ServerError> {
    let columns = columns.columns.into_iter().map(|column| {
        let received = from_proto(&column.values.unwrap_or_default()).map_err(|error| {
            let name: String = column.name.chars().take(64).collect();
            let field = format!("columns[{name:?}].{}", error.path);
            ServerError::argument(field, error.problem.to_string())
        })?;
        Ok((column.name, received.array))
    });
    columns
        .collect::<Result<_, ServerError>>()
        .map(PushInput::Columns)
}

/// What is answered.
pub fn response_of(answer: PushAnswer) -> v1::PushResponse {
    let rejected = answer.rejected.into_iter().map(|rejected| v1::RejectedRow {
        row: u32::try_from(rejected.row).unwrap_or(u32::MAX),
        reason: rejected.reason,
    });
    v1::PushResponse {
        accepted: answer.accepted,
        rejected: rejected.collect(),
        already_accepted: answer.repeated,
    }
}
