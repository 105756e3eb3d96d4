-- What this database is: its mark.
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- Numbers that are never given twice.
CREATE TABLE counters (
    name  TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;

INSERT INTO counters (name, value) VALUES ('fence', 0);

-- The queue. A key that is done has no row. All times are microseconds since 1970, UTC.
CREATE TABLE keys (
    key        TEXT    NOT NULL PRIMARY KEY,
    share      TEXT    NOT NULL,
    lane       INTEGER NOT NULL CHECK (lane IN (0, 1)), -- 0: fresh work, 1: sweeps
    generation INTEGER NOT NULL,                        -- how often it was touched
    fact       INTEGER NOT NULL,                        -- the generation of the last touch that was no sweep
    due        INTEGER,                                 -- while leased: what touches asked for meanwhile
    attempts   INTEGER NOT NULL DEFAULT 0,              -- in a row without success
    postponed  INTEGER NOT NULL DEFAULT 0,              -- in a row because something else was unavailable
    fence      INTEGER NOT NULL DEFAULT 0,
    lease_until INTEGER,
    lease_by   TEXT,
    reason     TEXT,                                    -- why the last attempt failed
    dead_at    INTEGER,
    -- When it can be claimed next; nothing for a dead key.
    ready      INTEGER GENERATED ALWAYS AS (
        CASE WHEN dead_at IS NOT NULL THEN NULL WHEN lease_until IS NOT NULL THEN lease_until ELSE due END
    ) STORED
) STRICT;

CREATE INDEX keys_by_share ON keys (lane, share, ready, key) WHERE ready IS NOT NULL;
CREATE INDEX keys_by_ready ON keys (ready) WHERE ready IS NOT NULL;
CREATE INDEX keys_leased ON keys (share, lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX keys_dead ON keys (dead_at) WHERE dead_at IS NOT NULL;
