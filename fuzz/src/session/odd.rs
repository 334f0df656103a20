//! Makes something in a line other than it should be.

use serde_json::{Value, json};

use crate::bytes::Bytes;

/// Takes a field away, or puts a strange value somewhere.
pub(super) fn odd(bytes: &mut Bytes<'_>, value: &mut Value) {
    match value {
        Value::Object(fields) if !fields.is_empty() && bytes.below(6) != 0 => {
            let at = usize::from(bytes.byte()) % fields.len();
            let name = fields.keys().nth(at).cloned().unwrap_or_default();
            if bytes.below(4) == 0 {
                fields.remove(&name);
            } else if let Some(value) = fields.get_mut(&name) {
                odd(bytes, value);
            }
        }
        Value::Array(values) if !values.is_empty() && bytes.below(4) != 0 => {
            let at = usize::from(bytes.byte()) % values.len();
            match bytes.below(8) {
                0 => {
                    values.remove(at);
                }
                1 => {
                    let again = values[at].clone();
                    values.extend(std::iter::repeat_n(again, 300));
                }
                _ => odd(bytes, &mut values[at]),
            }
        }
        other => *other = strange(bytes),
    }
}

/// Decides for a value that nobody expects.
pub(super) fn strange(bytes: &mut Bytes<'_>) -> Value {
    match bytes.below(18) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(false),
        3 => json!(-1),
        4 => json!(i64::MAX),
        5 => json!(u64::MAX),
        6 => json!(bytes.pick(&[1e300, -1e300, 0.5])),
        7 => json!(""),
        8 => json!(bytes.word()),
        9 => json!("…".repeat(bytes.pick(&[50, 5_000, 30_000]))),
        10 => json!([]),
        11 => json!({}),
        12 => deep(bytes.pick(&[5, 60, 110])),
        13 => json!(vec![json!([]); bytes.pick(&[300, 3_000])]),
        14 => json!(vec![json!(vec![json!({}); 120]); 120]),
        15 => (0..bytes.pick(&[20, 400])).map(|n| (format!("{n}{}", "name".repeat(60)), json!(n))).collect(),
        16 => json!({ "name".repeat(20_000): "value" }),
        _ => json!("\u{0}\u{1b}[31m\u{7f}\r\n\u{2028}"),
    }
}

fn deep(levels: usize) -> Value {
    (0..levels).fold(json!("deep"), |inner, level| match level % 2 {
        0 => json!([inner]),
        _ => json!({ "in": inner }),
    })
}
