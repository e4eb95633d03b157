//! Ethernet frames that the agent itself sends: [`frames`] makes them, [`socket`] sends them.

pub mod frames;
pub mod socket;
