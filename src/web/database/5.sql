-- What an app was shown and has not proved yet that it has.
ALTER TABLE user ADD COLUMN pending_totp BLOB;
ALTER TABLE user ADD COLUMN pending_until INTEGER NOT NULL DEFAULT 0;
