//! What a request may say, by name and kind. What is not in a route's list is refused, so that no field reaches what nobody meant
//! it for.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::procedure::Refused;

/// A field that a route takes.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it must be there.
    pub required: bool,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A line of at most so many bytes, without control characters.
    Line(usize),
    /// A text of at most so many bytes.
    Text(usize),
    /// A whole number, at most this.
    Number(u64),
    /// Yes or no.
    Flag,
    /// Lines.
    Lines(usize),
}

/// A field that may be left out.
pub const fn may(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, required: false }
}

/// A field that must be there.
pub const fn must(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, required: true }
}

/// The fields of a request, each as its route has it.
#[derive(Debug, Clone, Default)]
pub struct Fields(BTreeMap<&'static str, Value>);

impl Fields {
    /// Reads what a form, a query or a path says.
    ///
    /// # Errors
    /// 400: a field that the route does not have, twice the same, or not of its kind.
    pub fn of_pairs(known: &[Field], pairs: &[(String, String)]) -> Result<Self, Refused> {
        let mut fields = Self::default();
        for (name, text) in pairs {
            let field = find(known, name)?;
            let value = match field.kind {
                // A form sends what was left empty.
                _ if text.is_empty() && !field.required => continue,
                Kind::Number(_) => json!(text.parse::<u64>().map_err(|_| wrong(field))?),
                Kind::Flag => json!(match text.as_str() {
                    "yes" | "true" | "1" | "on" => true,
                    "no" | "false" | "0" | "off" => false,
                    _ => return Err(wrong(field)),
                }),
                Kind::Lines(_) => json!(text.split(',').map(str::trim).collect::<Vec<_>>()),
                Kind::Line(_) | Kind::Text(_) => json!(text),
            };
            fields.put(field, value)?;
        }
        Ok(fields)
    }

    /// Reads what an object of JSON says.
    ///
    /// # Errors
    /// As above.
    pub fn of_json(known: &[Field], object: Map<String, Value>) -> Result<Self, Refused> {
        let mut fields = Self::default();
        for (name, value) in object {
            if !value.is_null() {
                fields.put(find(known, &name)?, value)?;
            }
        }
        Ok(fields)
    }

    fn put(&mut self, field: &Field, value: Value) -> Result<(), Refused> {
        let fits = match (field.kind, &value) {
            (Kind::Line(most), Value::String(text)) => text.len() <= most && is_line(text),
            (Kind::Text(most), Value::String(text)) => text.len() <= most,
            (Kind::Number(most), Value::Number(number)) => number.as_u64().is_some_and(|n| n <= most),
            (Kind::Flag, Value::Bool(_)) => true,
            (Kind::Lines(most), Value::Array(lines)) => {
                lines.len() <= 64
                    && lines.iter().all(|l| l.as_str().is_some_and(|l| l.len() <= most && is_line(l)))
            }
            _ => false,
        };
        if !fits || self.0.insert(field.name, value).is_some() {
            return Err(wrong(field));
        }
        Ok(())
    }

    /// Takes in the fields of another part of the request.
    ///
    /// # Errors
    /// Both have one of the same name.
    pub fn with(mut self, other: Self) -> Result<Self, Refused> {
        for (name, value) in other.0 {
            if self.0.insert(name, value).is_some() {
                return Err(Refused::new(400, format!("{name} is given twice"), ""));
            }
        }
        Ok(self)
    }

    /// Refuses where one is missing.
    ///
    /// # Errors
    /// 400.
    pub fn complete(&self, known: &[Field]) -> Result<(), Refused> {
        match known.iter().find(|field| field.required && !self.0.contains_key(field.name)) {
            Some(field) => Err(Refused::new(400, format!("{} is missing", field.name), "")),
            None => Ok(()),
        }
    }

    /// Returns a text; `None`: it was not given.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// Returns a text that the route requires.
    pub fn required(&self, name: &str) -> &str {
        self.text(name).unwrap_or_default()
    }

    /// Returns a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_u64()
    }

    /// Returns a flag; one that was not given is not set.
    pub fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// Returns lines.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let lines = self.0.get(name).and_then(Value::as_array);
        lines
            .into_iter()
            .flatten()
            .filter_map(|line| Some(line.as_str()?.to_owned()))
            .filter(|l| !l.is_empty())
            .collect()
    }

    /// Returns all, as a form would send them again.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Bool(flag) => if *flag { "yes" } else { "no" }.into(),
            Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        };
        self.0.iter().map(|(name, value)| ((*name).to_owned(), text(value))).collect()
    }
}

fn is_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

fn find<'f>(known: &'f [Field], name: &str) -> Result<&'f Field, Refused> {
    known.iter().find(|field| field.name == name).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|field| field.name).collect();
        Refused::new(400, "a field that is not known here", format!("there are {}", names.join(", ")))
    })
}

fn wrong(field: &Field) -> Refused {
    let what = match field.kind {
        Kind::Line(most) => format!("a line of at most {most} bytes"),
        Kind::Text(most) => format!("a text of at most {most} bytes"),
        Kind::Number(most) => format!("a whole number, at most {most}"),
        Kind::Flag => "yes or no".into(),
        Kind::Lines(most) => format!("at most 64 lines of at most {most} bytes"),
    };
    Refused::new(400, format!("{} is not what it should be", field.name), format!("{what}, once"))
}

impl Field {
    /// Returns its JSON Schema.
    pub fn schema(&self) -> Value {
        match self.kind {
            Kind::Line(most) => {
                json!({"type": "string", "maxLength": most, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$"})
            }
            Kind::Text(most) => json!({"type": "string", "maxLength": most}),
            Kind::Number(most) => json!({"type": "integer", "minimum": 0, "maximum": most}),
            Kind::Flag => json!({"type": "boolean"}),
            Kind::Lines(most) => {
                json!({"type": "array", "maxItems": 64, "items": {"type": "string", "maxLength": most}})
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Field; 4] = [
        must("name", Kind::Line(8)),
        may("count", Kind::Number(9)),
        may("sure", Kind::Flag),
        may("sites", Kind::Lines(9)),
    ];

    fn pairs(list: &[(&str, &str)]) -> Result<Fields, Refused> {
        let owned: Vec<_> = list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Fields::of_pairs(&KNOWN, &owned)
    }

    #[test]
    fn what_nobody_asked_for_is_refused() {
        let fields = pairs(&[("name", "phone"), ("count", "9"), ("sure", "yes"), ("sites", "a, b")]).unwrap();
        assert_eq!(
            (fields.text("name"), fields.number("count"), fields.flag("sure")),
            (Some("phone"), Some(9), true)
        );
        assert_eq!(fields.lines("sites"), ["a", "b"]);
        for bad in [
            &[("role", "admin")][..],
            &[("name", "phone"), ("name", "laptop")],
            &[("name", "too long for it")],
            &[("name", "a\nPostUp")],
            &[("count", "10")],
            &[("count", "-1")],
            &[("sure", "perhaps")],
            &[("sites", "a\rb")],
        ] {
            assert_eq!(pairs(bad).unwrap_err().status, 400, "{bad:?}");
        }
        assert!(pairs(&[("count", "1")]).unwrap().complete(&KNOWN).is_err());
        for bad in [r#"{"name":7}"#, r#"{"role":"admin"}"#, r#"{"name":{"$ne":""}}"#, r#"{"name":"a\u0000"}"#]
        {
            let object = serde_json::from_str(bad).unwrap();
            assert_eq!(Fields::of_json(&KNOWN, object).unwrap_err().status, 400, "{bad}");
        }
    }
}
