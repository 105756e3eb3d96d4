-- Facts and decisions. JSON columns hold values of the domain; columns beside them are what is searched by.

CREATE TABLE repositories (
    id           TEXT    NOT NULL PRIMARY KEY,
    forge        TEXT    NOT NULL,            -- its address
    project      INTEGER NOT NULL,            -- the project's number there: paths can change hands
    examined     TEXT,                        -- the last commit of the target branch that was looked at
    suspended    TEXT,                        -- why landings are not looked at any more
    merged_until INTEGER NOT NULL DEFAULT 0   -- the newest merge that was seen, by the forge's clock
) STRICT;

-- Commits of the target branch that nothing explains yet, and since when.
CREATE TABLE unexplained (
    repository TEXT    NOT NULL,
    commit_id  TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    PRIMARY KEY (repository, commit_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE reviews (
    repository   TEXT    NOT NULL,
    number       INTEGER NOT NULL,
    open         INTEGER NOT NULL,
    held         INTEGER NOT NULL,            -- landed, and not accepted
    review       TEXT    NOT NULL,
    shown_digest TEXT,                        -- what the comment shows
    shown_at     INTEGER,                     -- since when, by the forge's clock
    adrift       INTEGER NOT NULL,            -- merged, and not yet found on the target branch
    notes_due    INTEGER NOT NULL DEFAULT 0,  -- somebody wrote a note that was not read yet
    PRIMARY KEY (repository, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX reviews_open ON reviews (repository, number) WHERE open = 1;
CREATE INDEX reviews_adrift ON reviews (repository, number) WHERE adrift = 1;
CREATE INDEX reviews_held ON reviews (repository, number) WHERE held = 1;

-- Every evaluation that could be signed, as it was shown.
CREATE TABLE evaluations (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    repository TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    digest     TEXT    NOT NULL,
    evaluation TEXT    NOT NULL,
    at         INTEGER NOT NULL
) STRICT;

CREATE INDEX evaluations_by_merge_request ON evaluations (repository, number, id);

-- Who pushed what, as push hooks told.
CREATE TABLE pushes (
    repository TEXT    NOT NULL,
    branch     TEXT    NOT NULL,
    after      TEXT    NOT NULL,
    user_id    INTEGER NOT NULL,
    username   TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    PRIMARY KEY (repository, branch, after, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX pushes_by_commit ON pushes (repository, after);

-- Notes that were obeyed: each once.
CREATE TABLE commands (
    repository TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    note       INTEGER NOT NULL,
    user_id    INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    approves   TEXT,                          -- the digest that it approves
    answer     TEXT,                          -- what to say to its author
    PRIMARY KEY (repository, number, note)
) STRICT, WITHOUT ROWID;

CREATE TABLE blobs (
    id    TEXT NOT NULL PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The desired state: what last landed with a sign-off.
CREATE TABLE accepted (
    repository TEXT NOT NULL,
    path       TEXT NOT NULL,
    blob       TEXT NOT NULL REFERENCES blobs (id),
    request    TEXT,                          -- the request in it, for a request file
    sign_off   INTEGER REFERENCES sign_offs (id),
    PRIMARY KEY (repository, path)
) STRICT, WITHOUT ROWID;

-- A sign-off, with the evidence that it was judged by. Used up by the landing that it stands with.
CREATE TABLE sign_offs (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    repository    TEXT    NOT NULL,
    merge_request INTEGER NOT NULL,
    commit_id     TEXT    NOT NULL,
    digest        TEXT    NOT NULL,
    approvers     TEXT    NOT NULL,
    review        TEXT    NOT NULL,
    at            INTEGER NOT NULL,
    UNIQUE (repository, merge_request)
) STRICT;

-- Each request's newest generation, and what it rests on.
CREATE TABLE requests (
    repository    TEXT    NOT NULL,
    request       TEXT    NOT NULL,           -- its key
    generation    INTEGER NOT NULL,
    content       TEXT    NOT NULL,           -- the request as it was last accepted
    deleted       INTEGER NOT NULL DEFAULT 0, -- it is accepted no more
    sign_off      TEXT,                       -- the digest; nothing where it was adopted by hand
    signed_plan   TEXT    NOT NULL,
    merge_request INTEGER,
    pending       TEXT    NOT NULL DEFAULT '{}', -- tokens of plans that take their time
    held          TEXT,                       -- why its run is not made
    retry         INTEGER NOT NULL DEFAULT 0, -- a person asked for another run
    PRIMARY KEY (repository, request)
) STRICT, WITHOUT ROWID;

-- What landed and is not accepted.
CREATE TABLE held (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    repository    TEXT    NOT NULL,
    commit_id     TEXT    NOT NULL,
    merge_request INTEGER,
    path          TEXT    NOT NULL,
    from_blob     TEXT,
    to_blob       TEXT,
    because       TEXT    NOT NULL,
    at            INTEGER NOT NULL
) STRICT;

CREATE INDEX held_by_commit ON held (repository, commit_id);

CREATE TABLE runs (
    id            TEXT    NOT NULL PRIMARY KEY,
    repository    TEXT    NOT NULL,
    request       TEXT    NOT NULL,
    generation    INTEGER NOT NULL,
    merge_request INTEGER,
    team          TEXT    NOT NULL,
    state         TEXT    NOT NULL,
    run           TEXT    NOT NULL,           -- without its steps and state
    finished_at   INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX runs_by_request ON runs (repository, request, generation);
CREATE INDEX runs_by_merge_request ON runs (repository, merge_request);
CREATE INDEX runs_unfinished ON runs (repository) WHERE finished_at IS NULL;

CREATE TABLE steps (
    run         TEXT    NOT NULL REFERENCES runs (id),
    resource    TEXT    NOT NULL,
    number      INTEGER NOT NULL,
    repository  TEXT    NOT NULL,
    environment TEXT    NOT NULL,
    step        TEXT    NOT NULL,             -- without its state
    state       TEXT    NOT NULL,
    poll_at     INTEGER,                      -- while it waits
    PRIMARY KEY (run, resource)
) STRICT, WITHOUT ROWID;

CREATE INDEX steps_waiting ON steps (repository, environment, poll_at) WHERE poll_at IS NOT NULL;

-- What happened to a step, and when.
CREATE TABLE step_log (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    run      TEXT    NOT NULL,
    resource TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    state    TEXT    NOT NULL
) STRICT;

CREATE INDEX step_log_by_run ON step_log (run, id);

-- What exists because of us.
CREATE TABLE resources (
    repository  TEXT    NOT NULL,
    request     TEXT    NOT NULL,
    resource    TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    environment TEXT    NOT NULL,
    external_id TEXT    NOT NULL,
    outputs     TEXT    NOT NULL,
    run         TEXT    NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (repository, request, resource)
) STRICT, WITHOUT ROWID;

-- What was last shown where. A note that was begun and has no number may have been written.
CREATE TABLE notes (
    repository TEXT    NOT NULL,
    subject    TEXT    NOT NULL,              -- a merge request or a pushed commit
    marker     TEXT    NOT NULL,              -- which note of ours
    number     INTEGER,                       -- the forge's number for it
    digest     TEXT,                          -- of its text
    at         INTEGER,                       -- when it was last written, by our clock
    PRIMARY KEY (repository, subject, marker)
) STRICT, WITHOUT ROWID;

CREATE TABLE statuses (
    repository TEXT NOT NULL,
    subject    TEXT NOT NULL,
    digest     TEXT NOT NULL,
    PRIMARY KEY (repository, subject)
) STRICT, WITHOUT ROWID;

-- One record for each decision, written in its transaction.
CREATE TABLE audit (
    sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    repository TEXT    NOT NULL,
    record     TEXT    NOT NULL
) STRICT;
