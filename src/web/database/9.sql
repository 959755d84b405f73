-- What owners of devices used up of late: each change is a revision, of which few are kept, and each file one of few that may leave.
CREATE TABLE used (
    id INTEGER PRIMARY KEY,
    who TEXT NOT NULL,
    what TEXT NOT NULL CHECK (what IN ('change', 'file', 'own-file')),
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX used_what ON used (what, who, at);
