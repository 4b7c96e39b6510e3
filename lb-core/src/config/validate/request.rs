use super::{FieldPath, Problem, Report, scalar};
use crate::{
    config::raw::{Number, RawHealth},
    probe::{CONNECTION_HEADERS, HttpCheck},
};

const DEFAULT_PATH: &str = "/readyz";

/// 401 and 403 say: alive, but anonymous requests are refused.
const DEFAULT_EXPECT: [u16; 3] = [200, 401, 403];

/// The most bytes of all headers of a request together, and of its body: no probe needs a fraction of it, and every
/// connection can send it at once.
const MAX_BYTES: usize = 8 << 10;

/// Reads what an HTTP probe asks, of the `health:` at `path`.
pub(super) fn check(raw: &RawHealth, path: &FieldPath, report: &mut Report<'_>) -> Option<HttpCheck> {
    let target = request_path(raw.path.as_deref(), &path.key("path"), report);
    let expect = expected_codes(raw.expect.as_deref(), &path.key("expect"), report);
    let method = method(raw.method.as_deref(), &path.key("method"), report);
    let headers = headers(raw.headers.as_deref().unwrap_or_default(), &path.key("headers"), report);
    let body = raw.body.clone().unwrap_or_default();
    let body = fits(body.len(), "bytes of body", &path.key("body"), report).then_some(body);
    Some(HttpCheck { method: method?, path: target?, headers: headers?, body: body?, expect: expect? })
}

fn request_path(raw: Option<&str>, path: &FieldPath, report: &mut Report<'_>) -> Option<String> {
    let text = raw.unwrap_or(DEFAULT_PATH);
    // What a request target may hold (RFC 9112 section 3.2.1, RFC 3986 section 3.3) is visible ASCII without
    // the fragment's `#`.
    let fits = |b: u8| b.is_ascii_graphic() && b != b'#';
    if text.starts_with('/') && text.bytes().all(fits) {
        return Some(text.to_owned());
    }
    report.add(path, Problem::RequestPath { text: text.to_owned() });
    None
}

fn expected_codes(raw: Option<&[Number]>, path: &FieldPath, report: &mut Report<'_>) -> Option<Vec<u16>> {
    let Some(numbers) = raw else { return Some(DEFAULT_EXPECT.to_vec()) };
    if numbers.is_empty() {
        report.add(path, Problem::NoStatusCodes);
    }
    let mut codes = Vec::new();
    for (index, number) in numbers.iter().enumerate() {
        let path = &path.index(index);
        let code = scalar::number(Some(*number), (100, 599), 200, path, report);
        let Some(code) = code.and_then(|code| u16::try_from(code).ok()) else { continue };
        if codes.contains(&code) {
            report.add(path, Problem::Repeated { value: code.to_string() });
        } else {
            codes.push(code);
        }
    }
    // Fewer codes than numbers: some were wrong.
    (codes.len() == numbers.len() && !codes.is_empty()).then_some(codes)
}

/// CONNECT is no request for a path but for a tunnel (RFC 9110 section 9.3.6).
fn method(raw: Option<&str>, path: &FieldPath, report: &mut Report<'_>) -> Option<String> {
    let text = raw.unwrap_or("GET");
    if is_token(text) && text != "CONNECT" {
        return Some(text.to_owned());
    }
    report.add(path, Problem::RequestMethod { text: text.to_owned() });
    None
}

fn headers(
    raw: &[(String, String)],
    path: &FieldPath,
    report: &mut Report<'_>,
) -> Option<Vec<(String, String)>> {
    let wrong: Vec<_> = raw.iter().filter_map(|(name, value)| header_problem(name, value)).collect();
    let bytes = raw.iter().map(|(name, value)| name.len() + value.len()).sum();
    let right = fits(bytes, "bytes of headers", path, report) && wrong.is_empty();
    wrong.into_iter().for_each(|problem| report.add(path, problem));
    right.then(|| raw.to_vec())
}

fn header_problem(name: &str, value: &str) -> Option<Problem> {
    let name = name.to_owned();
    // Field values (RFC 9110 section 5.5), without the bytes beyond ASCII, which are obsolete.
    let carried = |b: u8| b.is_ascii_graphic() || b == b' ' || b == b'\t';
    if !is_token(&name) {
        return Some(Problem::HeaderName { name });
    }
    if CONNECTION_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
        return Some(Problem::ConnectionHeader { name });
    }
    (!value.bytes().all(carried)).then_some(Problem::HeaderValue { name })
}

/// Whether a text is a token (RFC 9110 section 5.6.2).
fn is_token(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(fits)
}

fn fits(count: usize, what: &'static str, path: &FieldPath, report: &mut Report<'_>) -> bool {
    if count > MAX_BYTES {
        report.add(path, Problem::TooMany { what, count, limit: MAX_BYTES });
    }
    count <= MAX_BYTES
}
