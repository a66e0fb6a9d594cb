//! JSON as a JavaScript engine prints it: the vendor's Node SDKs verify a signature over the body that
//! they have parsed and printed again, so that what is sent must come out the same (jambonz 2.5).

use serde_json::Value;

/// The most that an application may keep with a call, as text: it goes out with everything told of the call.
const TAG: usize = 4_096;

/// Whether this may be kept with a call: an object, and not a long one.
pub(super) fn is_tag(value: &Value) -> bool {
    value.is_object() && print(value).len() <= TAG
}

/// Prints a value without blanks.
pub(super) fn print(value: &Value) -> String {
    let mut out = String::new();
    put(&mut out, value);
    out
}

fn put(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(yes) => out.push_str(if *yes { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number.as_f64().map_or_else(|| "null".into(), double)),
        Value::String(text) => put_text(out, text),
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                put(out, item);
            }
            out.push(']');
        }
        Value::Object(members) => {
            // An engine puts members that look like places of an array first, by number.
            let mut ordered: Vec<(Option<u32>, &String, &Value)> =
                members.iter().map(|(name, value)| (index(name), name, value)).collect();
            ordered.sort_by_key(|(index, ..)| index.map_or(u64::MAX, u64::from));
            out.push('{');
            for (n, (_, name, value)) in ordered.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                put_text(out, name);
                out.push(':');
                put(out, value);
            }
            out.push('}');
        }
    }
}

/// `0` to `4294967294` without zeros in front.
fn index(name: &str) -> Option<u32> {
    let number: u32 = name.parse().ok().filter(|number| *number != u32::MAX)?;
    (number.to_string() == name).then_some(number)
}

/// Strings are escaped there as here.
fn put_text(out: &mut String, text: &str) {
    match serde_json::to_string(text) {
        Ok(quoted) => out.push_str(&quoted),
        Err(_) => out.push_str("\"\""),
    }
}

/// A number (ECMAScript, Number::toString): the shortest digits that mean it, without an exponent from
/// 1e-6 to 1e21.
fn double(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return "0".to_owned();
    }
    let text = format!("{:e}", number.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    // The decimal point stands behind so many of the digits.
    let point = exponent.parse::<i32>().unwrap_or(0) + 1;
    let count = digits.len() as i32;
    let zeros = |n: i32| "0".repeat(usize::try_from(n).unwrap_or(0));
    let split = |at: i32| digits.split_at_checked(usize::try_from(at).unwrap_or(0)).unwrap_or((&digits, ""));
    let plain = match point {
        _ if count <= point && point <= 21 => format!("{digits}{}", zeros(point - count)),
        1..=21 => {
            let (whole, fraction) = split(point);
            format!("{whole}.{fraction}")
        }
        -5..=0 => format!("0.{}{digits}", zeros(-point)),
        _ => {
            let (first, rest) = split(1);
            let dot = if rest.is_empty() { "" } else { "." };
            format!("{first}{dot}{rest}e{:+}", point - 1)
        }
    };
    if number < 0.0 { format!("-{plain}") } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// [jambonz 2.5] What `JSON.stringify(JSON.parse(x))` makes of it.
    #[test]
    fn as_an_engine_prints_it() {
        let value = json!({
            "b": [1.0, -0.0, 1.5, 1e21, 1.5e-7, 1e-6, 123456789012345680000.0, -2.5e300, 0.1, 9007199254740993_u64],
            "10": "ä/\u{2028}\"\\\n\u{1}", "2": {}, "a": null, "02": true,
        });
        let expected = "{\"2\":{},\"10\":\"ä/\u{2028}\\\"\\\\\\n\\u0001\",\"02\":true,\"a\":null,\
            \"b\":[1,0,1.5,1e+21,1.5e-7,0.000001,123456789012345680000,-2.5e+300,0.1,9007199254740992]}";
        assert_eq!(print(&value), expected);
    }
}
