-- Webhook calls, stored before they are answered. A forge that repeats itself sends the same id and the same bytes;
-- the same id over other bytes is another delivery.
CREATE TABLE deliveries (
    repository TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    digest     TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    keys       TEXT    NOT NULL, -- a JSON array
    at         INTEGER NOT NULL,
    PRIMARY KEY (repository, id, digest)
) STRICT, WITHOUT ROWID;

CREATE INDEX deliveries_by_time ON deliveries (at);
