//! The heads of requests and responses, line by line, as the log shows them: without what is secret.

/// Parts of the names of headers whose values are not shown.
const SECRET: [&str; 12] = [
    "authorization",
    "cookie",
    "token",
    "secret",
    "passw",
    "credential",
    "session",
    "signature",
    "api-key",
    "apikey",
    "auth-key",
    "access-key",
];

/// Hands out the lines of the head at the front of `bytes`. The value of a header that has credentials is
/// replaced by its length.
pub fn lines(bytes: &[u8], mut each: impl FnMut(&str)) {
    let mut hidden = false;
    let head = bytes.split(|byte| *byte == b'\n');
    let head = head.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let head = head.take_while(|line| !line.is_empty());
    // A line ends here wherever a lenient parser would see its end.
    let lines = head.flat_map(|line| line.split(|byte| *byte == b'\r'));
    for (number, line) in lines.enumerate() {
        let text = String::from_utf8_lossy(line);
        // A line that begins with a space goes on with the value before it.
        let goes_on = line.starts_with(b" ") || line.starts_with(b"\t");
        let is_header = |(name, _): &(&str, &str)| number > 0 || !name.contains(' ');
        let shown = match text.split_once(':').filter(is_header) {
            _ if goes_on => match hidden {
                true => format!("({} bytes)", line.len()),
                false => text.into_owned(),
            },
            Some((name, value)) => {
                hidden = is_secret(name);
                let length = value.trim().len();
                if hidden {
                    format!("{name}: ({length} bytes)")
                } else {
                    text.into_owned()
                }
            }
            None => without_query(&text),
        };
        each(&shown);
    }
}

/// A line that is no header, the first one as a rule, without what a target has behind its path, which are credentials as a rule.
fn without_query(line: &str) -> String {
    let Some((before, query)) = line.split_once('?') else {
        return line.to_owned();
    };
    let length = query.find(' ').unwrap_or(query.len());
    format!("{before}?({length} bytes){}", &query[length..])
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::lines;

    fn shown(head: &str) -> Vec<String> {
        let mut shown = Vec::new();
        lines(head.as_bytes(), |line| shown.push(line.to_owned()));
        shown
    }

    #[test]
    fn a_head_ends_where_its_body_begins() {
        let head = "HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody";
        assert_eq!(shown(head), ["HTTP/1.1 200 OK", "A: b"]);
        assert_eq!(shown("GET / HT"), ["GET / HT"]);
        assert_eq!(shown(""), [""; 0]);
    }

    #[test]
    fn credentials_are_not_shown() {
        assert_eq!(shown("Cookie: a"), ["Cookie: (1 bytes)"]);
        let head = "GET /a:b?key=value:1 HTTP/1.1\r\nauthorization: Basic c2VjcmV0\r\nPROXY-AUTHORIZATION:abc\r\nCookie: a=1;\r\n b=2\r\n\
            A: b\rSet-Cookie: a\nX-Api-Key: k\r\nX-Auth-Token : t\r\nSec-WebSocket-Key: k\r\nHost: h:1\r\n more\r\n";
        let expected = [
            "GET /a:b?(11 bytes) HTTP/1.1",
            "authorization: (14 bytes)",
            "PROXY-AUTHORIZATION: (3 bytes)",
            "Cookie: (4 bytes)",
            "(4 bytes)",
            "A: b",
            "Set-Cookie: (1 bytes)",
            "X-Api-Key: (1 bytes)",
            "X-Auth-Token : (1 bytes)",
            "Sec-WebSocket-Key: k",
            "Host: h:1",
            " more",
        ];
        assert_eq!(shown(head), expected);
    }
}
