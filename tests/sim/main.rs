//! The simulated world, from outside: what its network, its disks and its faults promise, tried with an agent that writes down everything
//! it is told.

mod command_line;
mod datagrams;
mod disks;
mod experiments;
mod links;
mod lives;
mod openings;
mod outside;
mod probe;
mod runs;
mod stores;
mod traffic;
