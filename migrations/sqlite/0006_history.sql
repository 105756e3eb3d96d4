-- History is read in pages by these, and pruned by time.
CREATE INDEX runs_by_repository ON runs (repository, id);
CREATE INDEX deliveries_by_repository ON deliveries (repository, at); -- and by its primary key
CREATE INDEX step_log_by_time ON step_log (at);
