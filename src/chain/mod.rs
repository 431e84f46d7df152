//! What any Ethereum contract's operator needs of a chain: JSON-RPC with failover, typed calls, fees, keys and signed
//! transactions. Nothing here knows the lottery.

pub mod types;
