//! As much of HTTP as an engine speaks: a head, and a body by length, in chunks, or to the end.

pub(super) struct Head<'a> {
    pub(super) status: u16,
    chunked: bool,
    length: Option<usize>,
    rest: &'a [u8],
}

pub(super) fn head_of(answer: &[u8]) -> Option<Head<'_>> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = text.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut head = Head { status, chunked: false, length: None, rest: &answer[end + 4..] };
    for line in lines {
        let (name, value) = line.split_once(':')?;
        match name.to_ascii_lowercase().as_str() {
            "transfer-encoding" => head.chunked = value.trim().eq_ignore_ascii_case("chunked"),
            "content-length" => head.length = Some(value.trim().parse().ok()?),
            _ => {}
        }
    }
    Some(head)
}

pub(super) fn is_complete(answer: &[u8]) -> bool {
    // The last chunk of JSON that is chunked ends so; JSON itself has no carriage return outside of strings.
    head_of(answer).is_some_and(|head| match head.length {
        _ if head.chunked => head.rest.ends_with(b"\r\n0\r\n\r\n"),
        Some(length) => head.rest.len() >= length,
        None => false,
    })
}

/// Returns the body of a complete answer with status 200.
pub(super) fn body_of(answer: &[u8]) -> Option<Vec<u8>> {
    let head = head_of(answer).filter(|h| h.status == 200)?;
    if head.chunked {
        return unchunk(head.rest);
    }
    match head.length {
        Some(length) => head.rest.get(..length).map(<[u8]>::to_vec),
        None => Some(head.rest.to_vec()),
    }
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_by_length_and_in_chunks() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert!(is_complete(plain));
        assert_eq!(body_of(plain).unwrap(), b"hello");
        assert!(!is_complete(&plain[..plain.len() - 1]));
        assert_eq!(body_of(&plain[..plain.len() - 1]), None);
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n";
        assert!(is_complete(chunked));
        assert_eq!(body_of(chunked).unwrap(), b"hello");
        assert_eq!(body_of(b"HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n"), None);
        for cut in 0..chunked.len() {
            let _ = body_of(&chunked[..cut]);
        }
    }
}
