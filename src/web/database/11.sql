-- Who signs in by a provider: by its issuer and the subject there, and never by a name or an address, which may be others' tomorrow.
CREATE TABLE identity (
    user INTEGER PRIMARY KEY REFERENCES user ON DELETE CASCADE,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    UNIQUE (issuer, subject)
) STRICT;
