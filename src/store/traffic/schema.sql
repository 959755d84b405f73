CREATE TABLE node (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE counted (                  -- what each peer's counters said last
    key BLOB NOT NULL PRIMARY KEY,
    node INTEGER NOT NULL REFERENCES node ON DELETE CASCADE,
    device TEXT NOT NULL,               -- which device's counters they are: another one began at nothing
    rx INTEGER NOT NULL,
    tx INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX counted_node ON counted (node);
CREATE TABLE minutes (                  -- of an hour
    hour INTEGER NOT NULL,
    node INTEGER NOT NULL REFERENCES node ON DELETE CASCADE,
    bytes BLOB NOT NULL,
    PRIMARY KEY (hour, node)
) STRICT, WITHOUT ROWID;
CREATE INDEX minutes_node ON minutes (node);
CREATE TABLE hours (                    -- of a day: those whose minutes are gone
    day INTEGER NOT NULL,
    node INTEGER NOT NULL REFERENCES node ON DELETE CASCADE,
    bytes BLOB NOT NULL,
    PRIMARY KEY (day, node)
) STRICT, WITHOUT ROWID;
CREATE INDEX hours_node ON hours (node);
CREATE TABLE session (
    id INTEGER PRIMARY KEY,
    node INTEGER NOT NULL REFERENCES node ON DELETE CASCADE,
    began INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    address TEXT NOT NULL,
    endpoint TEXT NOT NULL
) STRICT;
CREATE INDEX session_node ON session (node, id);
