-- When somebody began to use a link: it is there until a node came of that, and whoever takes it back meanwhile took it back.
ALTER TABLE enrollment ADD COLUMN used_at INTEGER; -- NULL: nobody did
