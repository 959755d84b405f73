//! How D-Bus writes values (D-Bus Specification, "Marshaling"): each at a multiple of its own size, little-endian.

use std::collections::BTreeMap;

/// How deep values may lie in each other (the specification's own limit for arrays and structs).
const MAX_DEPTH: usize = 32;

/// A value that was read. Numbers of all widths are one, and a variant is what is in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Bool(bool),
    Number(i64),
    Text(String),
    /// An array, sorted: those that we read are sets.
    List(Vec<Value>),
    Struct(Vec<Value>),
    /// A dictionary whose keys are text.
    Dict(BTreeMap<String, Value>),
}

impl Value {
    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
    /// Returns the texts of a list; nothing where it is none.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        let list = if let Self::List(list) = self { list.as_slice() } else { &[] };
        list.iter().filter_map(Self::text)
    }
    pub(crate) fn dict(&self) -> Option<&BTreeMap<String, Value>> {
        if let Self::Dict(dict) = self { Some(dict) } else { None }
    }
}

/// An argument of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arg<'a> {
    Text(&'a str),
    /// Settings by name: `a{sv}`.
    Settings(BTreeMap<&'a str, Setting>),
    /// The same as a list of pairs, `a(sv)`, as systemd takes it.
    Properties(BTreeMap<&'a str, Setting>),
    /// A list of no further units: `a(sa(sv))`.
    NoUnits,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Setting {
    Text(String),
    List(Vec<String>),
    Numbers(Vec<u32>),
}

/// Writes a message's parts.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }
    pub(super) fn number(&mut self, number: u32) {
        self.align(4);
        self.bytes.extend(number.to_le_bytes());
    }
    pub(super) fn text(&mut self, text: &str) {
        self.number(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }
    pub(super) fn signature(&mut self, signature: &str) {
        self.bytes.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
        self.bytes.extend(signature.as_bytes());
        self.bytes.push(0);
    }
    /// Writes an array. Its length counts neither itself nor the padding before the first element.
    pub(super) fn array(&mut self, align: usize, elements: impl FnOnce(&mut Self)) {
        self.number(0);
        let length_at = self.bytes.len() - 4;
        self.align(align);
        let start = self.bytes.len();
        elements(self);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }
    pub(super) fn arg(&mut self, arg: &Arg<'_>) {
        match arg {
            Arg::Text(text) => self.text(text),
            // An entry of a dictionary and a pair are the same bytes.
            Arg::Settings(settings) | Arg::Properties(settings) => self.array(8, |w| {
                for (name, setting) in settings {
                    w.align(8);
                    w.text(name);
                    match setting {
                        Setting::Text(text) => {
                            w.signature("s");
                            w.text(text);
                        }
                        Setting::List(list) => {
                            w.signature("as");
                            w.array(4, |w| list.iter().for_each(|text| w.text(text)));
                        }
                        Setting::Numbers(list) => {
                            w.signature("au");
                            w.array(4, |w| list.iter().for_each(|number| w.number(*number)));
                        }
                    }
                }
            }),
            Arg::NoUnits => self.array(8, |_| {}),
        }
    }
}

impl Arg<'_> {
    pub(super) const fn signature(&self) -> &'static str {
        match self {
            Self::Text(_) => "s",
            Self::Settings(_) => "a{sv}",
            Self::Properties(_) => "a(sv)",
            Self::NoUnits => "a(sa(sv))",
        }
    }
}

/// Reads a message's parts. `None`: they are not what their signature says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn align(&mut self, to: usize) -> Option<()> {
        self.at = self.at.checked_next_multiple_of(to)?;
        (self.at <= self.bytes.len()).then_some(())
    }
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }
    pub(super) fn number(&mut self) -> Option<u32> {
        self.align(4)?;
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }
    fn text_of(&mut self, length: usize) -> Option<&'a str> {
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        (self.take(1)? == [0]).then_some(text)
    }
    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = self.number()?;
        self.text_of(usize::try_from(length).ok()?)
    }
    pub(super) fn signature(&mut self) -> Option<&'a str> {
        let length = self.take(1)?[0];
        self.text_of(usize::from(length))
    }
    /// Reads all values of a signature.
    pub(super) fn values(&mut self, signature: &str) -> Option<Vec<Value>> {
        let mut rest = signature;
        let mut values = Vec::new();
        while !rest.is_empty() {
            values.push(self.value(&mut rest, 0)?);
        }
        Some(values)
    }
    /// Reads one value, and takes its type off the signature.
    pub(super) fn value(&mut self, signature: &mut &str, depth: usize) -> Option<Value> {
        let kind = *signature.as_bytes().first().filter(|_| depth <= MAX_DEPTH)?;
        *signature = signature.get(1..)?;
        let number = |bytes: &[u8], signed: bool| {
            let mut wide = [if signed && bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 }; 8];
            wide[..bytes.len()].copy_from_slice(bytes);
            Some(Value::Number(i64::from_le_bytes(wide)))
        };
        let mut sized = |size: usize, signed: bool| {
            self.align(size)?;
            number(self.take(size)?, signed)
        };
        match kind {
            b'y' => sized(1, false),
            b'n' => sized(2, true),
            b'q' => sized(2, false),
            b'i' => sized(4, true),
            b'u' | b'h' => sized(4, false),
            b'x' | b't' | b'd' => sized(8, true),
            b'b' => Some(Value::Bool(self.number()? != 0)),
            b's' | b'o' => Some(Value::Text(self.text()?.into())),
            b'g' => Some(Value::Text(self.signature()?.into())),
            b'v' => {
                let mut inner = self.signature()?;
                let value = self.value(&mut inner, depth + 1)?;
                inner.is_empty().then_some(value)
            }
            b'(' => {
                self.align(8)?;
                let mut fields = Vec::new();
                while !signature.starts_with(')') {
                    fields.push(self.value(signature, depth + 1)?);
                }
                *signature = &signature[1..];
                Some(Value::Struct(fields))
            }
            b'a' => self.array(signature, depth),
            _ => None,
        }
    }
    fn array(&mut self, signature: &mut &str, depth: usize) -> Option<Value> {
        let length = usize::try_from(self.number()?).ok()?;
        let element = element_type(signature)?;
        *signature = &signature[element.len()..];
        self.align(match element.as_bytes()[0] {
            b'y' | b'g' | b'v' => 1,
            b'n' | b'q' => 2,
            b'x' | b't' | b'd' | b'(' | b'{' => 8,
            _ => 4,
        })?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len())?;
        let (mut list, mut dict) = (Vec::new(), BTreeMap::new());
        let entry = element.strip_prefix('{').and_then(|e| e.strip_suffix('}'));
        while self.at < end {
            if let Some(mut inner) = entry {
                self.align(8)?;
                let key = self.value(&mut inner, depth + 1)?;
                dict.insert(key.text()?.to_string(), self.value(&mut inner, depth + 1)?);
            } else {
                let before = self.at;
                list.push(self.value(&mut { element }, depth + 1)?);
                // A struct of nothing would go on for ever.
                (self.at > before).then_some(())?;
            }
        }
        list.sort();
        (self.at == end).then_some(if entry.is_some() { Value::Dict(dict) } else { Value::List(list) })
    }
}

/// Returns the first complete type of a signature.
fn element_type(signature: &str) -> Option<&str> {
    let (mut open, mut length) = (0_usize, 0);
    for byte in signature.bytes() {
        length += 1;
        match byte {
            b'(' | b'{' => open += 1,
            b')' | b'}' => open = open.checked_sub(1)?,
            b'a' => continue,
            _ => {}
        }
        if open == 0 {
            return signature.get(..length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Arg<'static> {
        let list = vec!["ANY".to_string(), "a longer one".into()];
        Arg::Settings(
            [("short", Setting::Text("wgrelay:wg0".into())), ("egress_zones", Setting::List(list))].into(),
        )
    }

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.arg(&Arg::Text("wgrelay-wg0"));
        writer.arg(&settings());
        let read = Reader { bytes: &writer.bytes, at: 0 }.values("sa{sv}").unwrap();
        assert_eq!(read[0].text(), Some("wgrelay-wg0"));
        let dict = read[1].dict().unwrap();
        assert_eq!(dict["short"].text(), Some("wgrelay:wg0"));
        assert_eq!(dict["egress_zones"].texts().collect::<Vec<_>>(), ["ANY", "a longer one"]);
        for cut in 0..writer.bytes.len() {
            assert_eq!(Reader { bytes: &writer.bytes[..cut], at: 0 }.values("sa{sv}"), None, "cut at {cut}");
        }
    }

    #[test]
    fn what_systemd_is_asked_with() {
        let properties = [
            ("PIDs", Setting::Numbers(vec![4711, u32::MAX])),
            ("Description", Setting::Text("wgrelay".into())),
        ];
        let args =
            [Arg::Text("a.scope"), Arg::Text("fail"), Arg::Properties(properties.into()), Arg::NoUnits];
        let mut writer = Writer::default();
        args.iter().for_each(|arg| writer.arg(arg));
        let signature: String = args.iter().map(Arg::signature).collect();
        assert_eq!(signature, "ssa(sv)a(sa(sv))");
        let read = Reader { bytes: &writer.bytes, at: 0 }.values(&signature).unwrap();
        let pair = |name: &str, value| Value::Struct(vec![Value::Text(name.into()), value]);
        let pids = Value::List(vec![Value::Number(4711), Value::Number(u32::MAX.into())]);
        let properties = vec![pair("Description", Value::Text("wgrelay".into())), pair("PIDs", pids)];
        assert_eq!(read[2..], [Value::List(properties), Value::List(Vec::new())]);
    }

    #[test]
    fn what_firewalld_answers_with() {
        // a{sa{sas}} of getActiveZones, a(ss) inside a variant, and numbers of several widths.
        let mut writer = Writer::default();
        writer.array(8, |w| {
            w.text("public");
            w.array(8, |w| {
                w.text("interfaces");
                w.array(4, |w| ["lan0", "eth0"].iter().for_each(|t| w.text(t)));
            });
        });
        writer.signature("a(ss)");
        writer.array(8, |w| {
            w.align(8);
            w.text("51820");
            w.text("udp");
        });
        writer.signature("i");
        writer.number(u32::MAX);
        writer.number(1);
        let read = Reader { bytes: &writer.bytes, at: 0 }.values("a{sa{sas}}vvb").unwrap();
        let zones = read[0].dict().unwrap()["public"].dict().unwrap();
        assert_eq!(zones["interfaces"].texts().collect::<Vec<_>>(), ["eth0", "lan0"]);
        let port = ["51820", "udp"].map(|t| Value::Text(t.into())).to_vec();
        assert_eq!(read[1], Value::List(vec![Value::Struct(port)]));
        assert_eq!(read[2..], [Value::Number(-1), Value::Bool(true)]);
    }

    #[test]
    fn nonsense_ends() {
        for signature in ["a", "(", "a{", ")", "a()", "z", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaas"] {
            let bytes = [4, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0];
            assert_eq!(Reader { bytes: &bytes, at: 0 }.values(signature), None, "{signature}");
        }
        // A variant in a variant in a variant.
        let bytes = b"\x01v\0".repeat(100);
        assert_eq!(Reader { bytes: &bytes, at: 0 }.values("v"), None);
    }
}
