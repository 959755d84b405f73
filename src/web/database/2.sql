CREATE TABLE enrollment (
    hash BLOB NOT NULL PRIMARY KEY,
    node TEXT NOT NULL UNIQUE,
    platform TEXT NOT NULL,
    maker TEXT NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
