-- What an app was shown is of the session that began it, and of no other.
ALTER TABLE session ADD COLUMN pending_totp BLOB;
ALTER TABLE session ADD COLUMN pending_until INTEGER NOT NULL DEFAULT 0;
ALTER TABLE user DROP COLUMN pending_totp;
ALTER TABLE user DROP COLUMN pending_until;
