//! The log: to stderr, as much as RUST_LOG says.

/// At trace these print paths, queries and handshakes, and with them API keys.
const NEVER_BELOW_INFO: &[&str] = &[
    "ureq",
    "ureq_proto",
    "rustls",
    "tungstenite",
    "tiny_http",
    "polling",
    "mio",
];

/// Starts logging; a second time, as in tests, changes nothing.
pub(crate) fn start() {
    let filter = std::env::var("RUST_LOG").unwrap_or_default();
    let filter = match filter.trim() {
        "" => "info",
        filter => filter,
    };
    let mut builder = env_logger::Builder::new();
    builder.parse_filters(filter);
    for target in NEVER_BELOW_INFO {
        builder.filter_module(target, log::LevelFilter::Info);
    }
    let _ = builder.try_init();
}
