//! What the pages need besides HTML, inside the program.

/// A file that is served as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asset {
    /// The name below `/assets/`.
    pub name: &'static str,
    /// The type of its content.
    pub content_type: &'static str,
    /// What is in it.
    pub content: &'static str,
}

/// All of them.
pub const ASSETS: [Asset; 5] = [
    Asset {
        name: "page.css",
        content_type: "text/css; charset=utf-8",
        content: include_str!("../assets/page.css"),
    },
    Asset {
        name: "page.js",
        content_type: "text/javascript; charset=utf-8",
        content: include_str!("../assets/page.js"),
    },
    Asset {
        name: "enroll.js",
        content_type: "text/javascript; charset=utf-8",
        content: include_str!("../assets/enroll.js"),
    },
    Asset {
        name: "qr.js",
        content_type: "text/javascript; charset=utf-8",
        content: include_str!("../assets/qr.js"),
    },
    Asset { name: "icon.svg", content_type: "image/svg+xml", content: include_str!("../assets/icon.svg") },
];
