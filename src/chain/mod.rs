//! What any Ethereum contract's operator needs of a chain: JSON-RPC with failover, typed calls, fees, keys and signed
//! transactions. Nothing here knows the lottery.

mod block_hashes;
pub mod cursor;
pub mod demanded;
pub mod encode;
pub mod endpoints;
pub mod error;
pub mod fees;
pub mod health;
pub mod http;
pub(crate) mod insistence;
pub mod json;
pub mod jsonrpc;
pub mod key;
pub mod keystore;
pub mod log_range;
pub mod logs;
pub mod method;
pub(crate) mod names;
pub mod node;
pub mod parse;
pub mod query;
pub mod script;
pub mod signer;
pub mod subscription;
pub mod together;
pub mod transport;
pub mod tx;
pub mod types;
pub mod url;
