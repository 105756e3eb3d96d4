-- The groups that the accepted landfall.yaml names, by the forge's numbers: whatever their paths lead to later.
CREATE TABLE accepted_groups (
    repository TEXT NOT NULL,
    path TEXT NOT NULL,      -- as landfall.yaml writes it
    number INTEGER NOT NULL, -- the forge's, when it was accepted
    PRIMARY KEY (repository, path)
) STRICT, WITHOUT ROWID;
