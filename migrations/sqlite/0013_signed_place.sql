-- A run is made only where it was signed off for.
ALTER TABLE requests ADD COLUMN place TEXT; -- the environment as it was signed: provider, account, region, network, sizes
