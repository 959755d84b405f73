-- Who has devices of his own, and how many he may have. A device is known by its public key, however its node is called.
ALTER TABLE user ADD COLUMN rank TEXT NOT NULL DEFAULT 'owner' CHECK (rank IN ('owner', 'viewer', 'operator', 'admin'));
UPDATE user SET rank = role;
ALTER TABLE user DROP COLUMN role;
ALTER TABLE user RENAME COLUMN rank TO role;
ALTER TABLE user ADD COLUMN devices INTEGER NOT NULL DEFAULT 0;
ALTER TABLE enrollment ADD COLUMN owner INTEGER REFERENCES user ON DELETE CASCADE; -- NULL: the node is nobody's
CREATE TABLE device (
    id INTEGER PRIMARY KEY,
    user INTEGER NOT NULL REFERENCES user ON DELETE CASCADE,
    public_key TEXT UNIQUE,             -- NULL: it is being added
    made INTEGER NOT NULL
) STRICT;
CREATE INDEX device_user ON device (user);
