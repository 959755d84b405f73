-- Who is told when something happens. What signs messages, and what lets this host in elsewhere, has to be here as it is.
CREATE TABLE target (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('webhook', 'ntfy', 'mail')),
    url TEXT NOT NULL,
    events TEXT NOT NULL,               -- names, with commas between
    secret TEXT,                        -- NULL: there is none
    account TEXT,
    sender TEXT NOT NULL,
    recipient TEXT NOT NULL,
    made INTEGER NOT NULL,
    test_wanted INTEGER NOT NULL DEFAULT 0,
    tried INTEGER,                      -- when a message was last sent; NULL: none was yet
    failure TEXT                        -- why that one did not arrive; NULL: it did
) STRICT;
