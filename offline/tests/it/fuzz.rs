//! No payload of a message ends the process (I22), nor keeps the rows of another message from being read.

use asof_core::definition::AvroFraming;
use asof_core::fuzz;
use asof_offline::MessageReader;

use crate::messages::{NOW, ROWS, arrow, avro, avro_of, json, reader};

/// Arrow panics at some damage, which is caught and told of as the message's; here, that is not to be told a thousand times.
fn hush_arrow() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic
            .location()
            .is_none_or(|place| !place.file().contains("/arrow-"))
        {
            usual(panic);
        }
    }));
}

#[tokio::test]
async fn messages() {
    hush_arrow();
    let reader = reader().await;
    let formats = [
        MessageReader::Json,
        avro_of(AvroFraming::None),
        avro_of(AvroFraming::SingleObject),
        MessageReader::Arrow,
    ];
    let beside = |format: usize| match format {
        0 => json(&ROWS[0]),
        1 => avro(&ROWS[0]),
        2 => [
            &[0xc3, 0x01, 0x2e, 0x7a, 0x6a, 0x87, 0x0b, 0x76, 0xb0, 0x54],
            &avro(&ROWS[0])[..],
        ]
        .concat(),
        _ => arrow(&ROWS[..1], false),
    };
    // The first byte says which format it is.
    let of_rows = ROWS
        .iter()
        .flat_map(|row| [(0, json(row)), (1, avro(row)), (3, arrow(&[*row], true))]);
    // Which claims to be much longer than it is, and had the room made for it.
    let long = [[0xff; 4], [0xff, 0xff, 0xff, 0x7f]].concat();
    let corpus = of_rows.chain([(2, beside(2)), (3, arrow(&ROWS, false)), (3, long)]);
    let corpus = corpus.map(|(format, bytes)| [&[format][..], &bytes].concat());
    let words = [
        "\"user\": ",
        "\"at\": ",
        "\"amount\": ",
        "\"note\": ",
        "null",
        "[",
        "{",
        "}",
        "\"",
        "\\u0000",
        "1e400",
        "\"2026-01-01T00:00:00Z\"",
        "\u{ff}",
        "ARROW1",
        "\0\0\0\0",
    ];
    fuzz::run("messages", corpus, &words, |input| {
        let (first, payload) = input.split_first().unwrap_or((&0, &[]));
        let format = usize::from(first % 4);
        let good = beside(format);
        let payloads = [Some(good.as_slice()), Some(payload), None, Some(good.as_slice())];
        let pieces = reader.read_messages(&formats[format], &payloads, NOW).unwrap();
        let rows: usize = pieces.iter().map(|piece| piece.rows.len()).sum();
        let refused: Vec<_> = pieces.iter().flat_map(|piece| &piece.refused).collect();
        // Both of the good ones, and one refusal of none at all.
        assert!(rows >= 2 && !refused.is_empty(), "{rows} rows, {refused:?}");
        assert!(refused.iter().all(|refused| !refused.reason.is_empty()));
        let kinds = refused
            .iter()
            .map(|refused| fuzz::kind_of(&refused.reason))
            .take(2);
        (format, rows.min(5), kinds.collect::<Vec<_>>())
    });
}
