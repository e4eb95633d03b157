//! Ethernet, where the agent itself meets it: [`frames`] announce VIPs, [`questions`] ask hosts and read their answers,
//! [`socket`] sends and receives them; [`device`] is what a card and its driver do with them.

pub mod device;
pub mod frames;
pub mod questions;
pub mod socket;
