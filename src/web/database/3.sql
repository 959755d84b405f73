-- What strangers can have written, what was refused or tried, and what was done are kept apart: none pushes out the other.
ALTER TABLE audit ADD COLUMN kind INTEGER NOT NULL DEFAULT 0;
CREATE INDEX audit_kind ON audit (kind, id);
CREATE INDEX audit_who ON audit (who, address, action);
