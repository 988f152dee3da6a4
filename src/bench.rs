//! Measuring grids from outside: the load generator, the baselines and the tables.
