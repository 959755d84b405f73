//! The part of a network.toml that an edit is about: all but the tables of nodes that have nothing to do with it.
//!
//! A parser that keeps places takes longer over thousands of nodes than everything else that an edit does. What is left out is found
//! by the quick reader, and only of a plain text; each table that is kept has the tables before and after it, so that comments and
//! blank lines around it are the same in the part.

use std::ops::Range;

use super::edits::Splice;
use super::plain;
use crate::model::NodeName;

/// A part of a text.
pub(super) struct Excerpt {
    text: String,
    /// What it is made of: runs of the whole text, in order and apart from each other.
    runs: Vec<Range<usize>>,
}

impl Excerpt {
    /// Takes what an edit about these nodes, also of a place below the last one, may have to look at. `None`: the text is not plain,
    /// or all of it is.
    pub(super) fn about(text: &str, names: &[&NodeName]) -> Option<Self> {
        // Of a text that ends some lines in one way and some in another, the part might have one of the ways alone.
        if text.contains('\r') {
            return None;
        }
        let tables = plain::headers(text)?;
        let is_node = |path: &[&str]| path.len() >= 2 && path[0] == "node";
        let last_node = tables.iter().rposition(|(path, _)| is_node(path));
        let is_about = |(number, (path, _)): (usize, &(Vec<&str>, usize))| {
            !is_node(path) || Some(number) == last_node || names.iter().any(|name| name.as_str() == path[1])
        };
        let mut kept: Vec<bool> = tables.iter().enumerate().map(is_about).collect();
        for name in names {
            for at in mentions(text, name.as_str()) {
                let table = tables.partition_point(|(_, start)| *start <= at);
                kept[table.saturating_sub(1)] = true;
            }
        }
        let mut runs: Vec<Range<usize>> = Vec::new();
        for number in 0..tables.len() {
            let around = number.saturating_sub(1)..=(number + 1).min(tables.len() - 1);
            if !kept[around].contains(&true) {
                continue;
            }
            let end = tables.get(number + 1).map_or(text.len(), |(_, next)| *next);
            match runs.last_mut() {
                Some(run) if run.end == tables[number].1 => run.end = end,
                _ => runs.push(tables[number].1..end),
            }
        }
        let is_part = runs.len() > 1 || runs.first().is_some_and(|run| *run != (0..text.len()));
        is_part.then(|| Self { text: runs.iter().map(|run| &text[run.clone()]).collect(), runs })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns edits of the part as edits of the whole. `None`: one is at the edge of a run, where what was left out may matter.
    pub(super) fn placed(&self, edits: Vec<Splice>) -> Option<Vec<Splice>> {
        edits.into_iter().map(|(range, insert)| Some((self.in_whole(range)?, insert))).collect()
    }

    fn in_whole(&self, range: Range<usize>) -> Option<Range<usize>> {
        let mut start = 0;
        for run in &self.runs {
            let end = start + run.len();
            // The first and the last table are always kept: at the edges of the whole nothing was left out.
            let begins = start < range.start || run.start == 0 && start == range.start;
            let ends = range.end < end || range.end == end && Some(run) == self.runs.last();
            if begins && ends {
                return Some(run.start + range.start - start..run.start + range.end - start);
            }
            start = end;
        }
        None
    }
}

/// Where a name stands by itself, as a text, a key or a part of one.
fn mentions<'t>(text: &'t str, name: &'t str) -> impl Iterator<Item = usize> {
    let goes_on = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || b"_.-".contains(b));
    text.match_indices(name).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).and_then(|before| text.as_bytes().get(before));
        !goes_on(before) && !goes_on(text.as_bytes().get(at + name.len()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::document::{EditError, Setting};
    use crate::config::edits::{Typed, spliced};
    use crate::model::{Node, PublicKey, Role};

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    /// An edit, by number, and the names that it is about.
    fn edit(
        which: usize,
        one: &NodeName,
        other: &NodeName,
        typed: &Typed<'_>,
    ) -> Result<Vec<Splice>, EditError> {
        match which {
            0 => {
                let key = PublicKey::from_bytes([7; 32]);
                typed.add_node(&Node::new(other.clone(), Role::Spoke, [10, 0, 0, 9].into(), key))
            }
            1 => typed.remove_node(one),
            2 => typed.set_enabled(one, false),
            3 => typed.set_enabled(one, true),
            4 => typed.set_value(one, "keepalive", Some(&Setting::Number(21))),
            5 => typed.set_value(one, "keepalive", None),
            6 => typed.rename_node(one, other),
            _ => typed.set_at(&["network"], "mtu", Some(&Setting::Number(1400))),
        }
    }

    /// What stands in a file, one after the other: tables, comments and blank lines where people put them.
    fn piece() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "[node.a]\naddress = \"10.0.0.1\"\n",
            "[node.b]\n",
            "[node.b]\nenabled = false\nkeepalive = 25\n",
            "[[node.a.site]]\nsubnet = \"10.1.0.0/24\"\n",
            "[[node.b.site]]\nsubnet = \"10.2.0.0/24\"",
            "[node.c]\nvia = \"a\"\n",
            "[node.c]\nrelays = [\"b\", \"x\"]\n\n",
            "[node.c.endpoint_of]\na = \"192.0.2.1:1\"\n",
            "[node.d]\nkeepalive = 0 # a\n",
            "[node.e]\n",
            "[node.f]\naddress = \"10.0.0.6\"\n\n\n",
            "[network]\nname = \"wg0\"\n",
            "[node]\n",
            "[[allow]]\nfrom = [\"a\"]\nto = [\"d\"]\n",
            "[[expect]]\nfrom = \"lan:b\"\nto = \"e\"\n",
            "\n",
            "\n\n",
            "# of what follows\n",
            "# below\n\n",
            "  # indented\n",
        ])
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

        #[test]
        fn edits_of_a_part_are_those_of_the_whole(
            pieces in prop::collection::vec(piece(), 0..14), which in 0..8_usize,
            one in prop::sample::select(vec!["a", "b", "d", "f"]), other in prop::sample::select(vec!["x", "new", "e"]),
        ) {
            let text = pieces.concat();
            let (one, other) = (name(one), name(other));
            if let Some(part) = Excerpt::about(&text, &[&one, &other])
                && let Ok(edits) = edit(which, &one, &other, &Typed::of(part.text()))
                && let Some(edits) = part.placed(edits)
            {
                // A text that is no TOML is nobody's to edit.
                prop_assume!(toml_edit::Document::parse(text.as_str()).is_ok());
                let whole = edit(which, &one, &other, &Typed::of(&text));
                let whole = whole.map(|edits| spliced(&text, &edits));
                prop_assert_eq!(Ok(spliced(&text, &edits)), whole, "{}", part.text());
            }
        }
    }

    #[test]
    fn of_a_large_file_little_is_read() {
        let node = |n: usize| {
            format!("\n# of n{n}\n[node.n{n}]\nvia = \"n{}\"\n\n[[node.n{n}.site]]\nsubnet = \"x\"\n", n / 2)
        };
        let text = "[network]\nname = \"wg0\"\n".to_owned() + &(0..1000).map(node).collect::<String>();
        for which in 0..8 {
            let (one, other) = (name("n700"), name("new"));
            let part = Excerpt::about(&text, &[&one, &other]).unwrap();
            assert!(part.text().lines().count() < 60, "{}", part.text());
            let edits = edit(which, &one, &other, &Typed::of(part.text())).unwrap();
            let whole = edit(which, &one, &other, &Typed::of(&text)).unwrap();
            assert_eq!(part.placed(edits), Some(whole), "{which}");
        }
        // Whoever names it is a part of it.
        let part = Excerpt::about(&text, &[&name("n400")]).unwrap();
        assert!(part.text().contains("[node.n800]") && part.text().contains("[node.n801]"));
        let refused = Typed::of(part.text()).remove_node(&name("n400"));
        assert!(matches!(refused, Err(EditError::Mentioned { .. })), "{refused:?}");
    }
}
