-- What was pushed without a merge request can be released. What a sign-off, a request, a run, a command or an evaluation
-- belongs to is its origin from here on: the number of a merge request, or `commit-` and a pushed commit.

-- Pushes straight onto the target branch that were held.
CREATE TABLE held_pushes (
    repository   TEXT    NOT NULL,
    commit_id    TEXT    NOT NULL,            -- the newest commit of it
    open         INTEGER NOT NULL,            -- neither released nor superseded
    push         TEXT    NOT NULL,
    issue        INTEGER,                     -- the issue that tells of it
    shown_digest TEXT,                        -- what our note in it shows
    shown_at     INTEGER,                     -- since when, by the forge's clock
    notes_due    INTEGER NOT NULL DEFAULT 0,  -- somebody wrote a note that was not read yet
    PRIMARY KEY (repository, commit_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX held_pushes_open ON held_pushes (repository, commit_id) WHERE open = 1;
CREATE INDEX held_pushes_by_issue ON held_pushes (repository, issue);

CREATE TABLE commands_by_origin (
    repository TEXT    NOT NULL,
    origin     TEXT    NOT NULL,
    note       INTEGER NOT NULL,
    user_id    INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    approves   TEXT,                          -- the digest that it approves
    answer     TEXT,                          -- what to say to its author
    PRIMARY KEY (repository, origin, note)
) STRICT, WITHOUT ROWID;
INSERT INTO commands_by_origin
    SELECT repository, CAST(number AS TEXT), note, user_id, at, approves, answer FROM commands;
DROP TABLE commands;
ALTER TABLE commands_by_origin RENAME TO commands;

DROP INDEX evaluations_by_merge_request;
ALTER TABLE evaluations ADD COLUMN origin TEXT NOT NULL DEFAULT '';
UPDATE evaluations SET origin = CAST(number AS TEXT);
ALTER TABLE evaluations DROP COLUMN number;
CREATE INDEX evaluations_by_origin ON evaluations (repository, origin, id);

ALTER TABLE requests ADD COLUMN origin TEXT;
UPDATE requests SET origin = CAST(merge_request AS TEXT);
ALTER TABLE requests DROP COLUMN merge_request;

DROP INDEX runs_by_merge_request;
ALTER TABLE runs ADD COLUMN origin TEXT;
UPDATE runs SET origin = CAST(merge_request AS TEXT);
ALTER TABLE runs DROP COLUMN merge_request;
CREATE INDEX runs_by_origin ON runs (repository, origin);

-- Both are made anew, since a column of a constraint cannot be dropped, and a table that is referred to cannot either.
CREATE TABLE sign_offs_by_origin (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    repository TEXT    NOT NULL,
    origin     TEXT    NOT NULL,
    commit_id  TEXT    NOT NULL,
    digest     TEXT    NOT NULL,
    approvers  TEXT    NOT NULL,
    evidence   TEXT    NOT NULL,              -- the review, or the push
    at         INTEGER NOT NULL,
    UNIQUE (repository, origin)
) STRICT;
INSERT INTO sign_offs_by_origin
    SELECT id, repository, CAST(merge_request AS TEXT), commit_id, digest, approvers, review, at FROM sign_offs;
CREATE TABLE accepted_by_origin (
    repository TEXT NOT NULL,
    path       TEXT NOT NULL,
    blob       TEXT NOT NULL REFERENCES blobs (id),
    request    TEXT,                          -- the request in it, for a request file
    sign_off   INTEGER REFERENCES sign_offs_by_origin (id),
    PRIMARY KEY (repository, path)
) STRICT, WITHOUT ROWID;
INSERT INTO accepted_by_origin SELECT repository, path, blob, request, sign_off FROM accepted;
DROP TABLE accepted;
DROP TABLE sign_offs;
ALTER TABLE sign_offs_by_origin RENAME TO sign_offs;
ALTER TABLE accepted_by_origin RENAME TO accepted;
