-- Which steps made the network of an environment, whichever requests they were of.
CREATE INDEX steps_of_networks ON steps (repository, environment, run) WHERE substr(resource, 1, 8) = 'network/';
