CREATE TABLE user (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    password TEXT,                      -- argon2id; NULL: none was set yet, and nobody gets in
    totp BLOB,                          -- NULL: no one-time codes
    totp_step INTEGER NOT NULL DEFAULT 0, -- the last that was used
    made INTEGER NOT NULL
) STRICT;
CREATE TABLE recovery (
    user INTEGER NOT NULL REFERENCES user ON DELETE CASCADE,
    hash BLOB NOT NULL PRIMARY KEY
) STRICT;
CREATE TABLE session (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    user INTEGER NOT NULL REFERENCES user ON DELETE CASCADE,
    csrf TEXT NOT NULL,
    made INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    proved INTEGER NOT NULL,            -- when the password was last typed
    address TEXT NOT NULL
) STRICT;
CREATE TABLE token (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    scope TEXT NOT NULL CHECK (scope IN ('read', 'operate', 'keys')),
    node TEXT,                          -- NULL: all of them
    made INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE TABLE link (
    hash BLOB NOT NULL PRIMARY KEY,
    purpose TEXT NOT NULL CHECK (purpose IN ('password')),
    about TEXT NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    address TEXT NOT NULL,
    action TEXT NOT NULL,
    about TEXT NOT NULL,
    status INTEGER NOT NULL
) STRICT;
