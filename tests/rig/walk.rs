//! A page of docs as its test walks it: the commands of its console blocks, with what each prints.

/// A command of a page, and the lines below it.
pub struct Step {
    /// Without `sudo` and remarks.
    pub command: String,
    /// What the page says that it prints.
    pub shown: Vec<String>,
    /// The line of the command, from 0.
    pub line: usize,
}

/// Returns the commands of a page's console blocks.
pub fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut is_console = false;
    for (number, line) in text.lines().enumerate() {
        match line {
            "```console" => is_console = true,
            "```" => is_console = false,
            _ if !is_console => {}
            _ => match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => {
                    let command = command.split(" #").next().unwrap_or(command).trim();
                    let command = command.trim_start_matches("sudo ").to_owned();
                    steps.push(Step { command, shown: Vec::new(), line: number });
                }
                (None, Some(step)) => step.shown.push(line.to_owned()),
                (None, None) => panic!("line {}: output without a command", number + 1),
            },
        }
    }
    steps
}

/// Leaves out of a line what is different each time, and how columns are spaced because of it.
pub fn told(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let units = ["s", "B", "KiB", "MiB", "min"];
    let word = |(i, word): (usize, &&str)| -> String {
        if word.len() == 44 && word.ends_with('=') {
            return "KEY".into();
        }
        if word.starts_with('(') && word.ends_with("…)") {
            return "(KEY…)".into();
        }
        let is_amount =
            words.get(i + 1).is_some_and(|unit| units.contains(&unit.trim_end_matches([',', ';'])));
        if is_amount && word.parse::<f64>().is_ok() {
            return "N".into();
        }
        match word.rsplit_once(':') {
            Some((address, port)) if address.parse::<std::net::Ipv4Addr>().is_ok() && port != "51820" => {
                format!("{address}:PORT")
            }
            _ => (*word).to_owned(),
        }
    };
    words.iter().enumerate().map(word).collect::<Vec<_>>().join(" ")
}
