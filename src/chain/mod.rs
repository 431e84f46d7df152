//! What any Ethereum contract's operator needs of a chain: JSON-RPC with failover, typed calls, fees, keys and signed
//! transactions. Nothing here knows the lottery.

pub mod cursor;
pub mod endpoints;
pub mod error;
pub mod fees;
pub mod http;
pub mod jsonrpc;
pub mod key;
pub mod keystore;
pub mod logs;
pub mod node;
pub mod parse;
pub mod script;
pub mod subscription;
pub mod transport;
pub mod tx;
pub mod types;
