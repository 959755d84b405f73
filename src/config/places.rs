//! Where the parts of a network stand in its file, by the names that findings give them: `node.docker.routes`.

use std::collections::BTreeMap;

use crate::model::Problem;
use crate::model::validate::{Mark, Marks};

/// Names to `FILE:LINE:COLUMN`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(BTreeMap<String, String>);

impl Places {
    pub(super) fn of(marks: &Marks, place: impl Fn(Mark) -> String) -> Self {
        let mut places = BTreeMap::new();
        let mut put = |name: String, mark: Option<Mark>| {
            if let Some(mark) = mark {
                places.insert(name, place(mark));
            }
        };
        put("network".into(), marks.name.or(marks.subnet));
        put("network.name".into(), marks.name);
        put("network.subnet".into(), marks.subnet);
        put("network.subnet6".into(), marks.subnet6);
        put("network.mtu".into(), marks.mtu);
        for (name, at) in &marks.nodes {
            let node = format!("node.{name}");
            let fields = [
                ("routes", at.routes),
                ("mtu", at.mtu),
                ("endpoint", at.endpoint),
                ("keepalive", at.keepalive),
            ];
            for (field, mark) in fields {
                put(format!("{node}.{field}"), mark);
            }
            for (i, site) in at.sites.iter().enumerate() {
                put(format!("{node}.site[{i}]"), site.subnet);
            }
            put(node, Some(at.node));
        }
        for (i, [from, _]) in marks.expect.iter().enumerate() {
            put(format!("expect[{i}]"), Some(*from));
        }
        Self(places)
    }

    /// Returns the place of a part; of one that is not written, that of the table which it would stand in.
    pub fn get(&self, name: &str) -> Option<&str> {
        let parents = std::iter::successors(Some(name), |n| n.rsplit_once('.').map(|(parent, _)| parent));
        parents.take_while(|n| *n != "node").find_map(|n| self.0.get(n)).map(String::as_str)
    }

    /// Gives a problem its place in the file, where it names a part of the network.
    #[must_use]
    pub fn located(&self, problem: Problem) -> Problem {
        match self.get(&problem.place) {
            Some(place) => Problem { place: place.to_owned(), ..problem },
            None => problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::places_of;

    #[test]
    fn what_is_not_written_is_at_its_table() {
        let text = "[network]\nname = \"wg0\"\nsubnet = \"10.0.0.0/24\"\n[node.a.b]\n";
        let text = text.replace("a.b", "\"a.b\"").replace(
            "\"]\n",
            "\"]\nrole = \"relay\"\naddress = \"10.0.0.1\"\npublic_key = \
             \"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\"\nmtu = 1400\n[[node.\"a.b\".site]]\nsubnet = \"10.1.0.0/24\"\n",
        );
        let places = places_of(text.as_bytes(), "f");
        for (name, place) in [
            ("node.a.b", Some("f:4:1")),
            ("node.a.b.mtu", Some("f:8:7")),
            ("node.a.b.routes", Some("f:4:1")),
            ("node.a.b.site[0]", Some("f:10:10")),
            ("network.mtu", Some("f:2:8")),
            ("node.c", None),
            ("interface wg0", None),
        ] {
            assert_eq!(places.get(name), place, "{name}");
        }
    }
}
