-- Others can change what we write, and people take back what they wrote: what the forge holds is compared with this.

ALTER TABLE notes ADD COLUMN body TEXT;          -- digest of the text as the forge answered it
ALTER TABLE notes ADD COLUMN writing TEXT;       -- digest of the text that is being written
ALTER TABLE notes ADD COLUMN updated_at INTEGER; -- its time, by the forge's clock
ALTER TABLE notes ADD COLUMN seen_at INTEGER;    -- when it was last found as it was written, by our clock

-- The plan whose comment was found changed or deleted: what was approved before it was written anew does not count.
ALTER TABLE reviews ADD COLUMN shown_anew TEXT;
ALTER TABLE held_pushes ADD COLUMN shown_anew TEXT;

ALTER TABLE commands ADD COLUMN body TEXT;       -- digest of the note's text
ALTER TABLE commands ADD COLUMN withdraws INTEGER NOT NULL DEFAULT 0; -- takes back what its author approved
