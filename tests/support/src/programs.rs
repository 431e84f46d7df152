//! Programs of others around the daemon: a port that nobody has, nginx for a user who is not root, and who may mount.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

/// Whether this process may mount something that it alone sees: in most containers none may.
pub fn may_mount() -> bool {
    let tried = Command::new("unshare")
        .args(["-rm", "sh", "-c", "mount -t tmpfs tmpfs /run"])
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

/// A port of loopback on which nobody listens; it is not held.
///
/// # Panics
/// When loopback has none left.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener
        .local_addr()
        .expect("a listener has an address")
        .port()
}

/// nginx (named by NGINX, or on the path), not started, with `http` as what it serves; all that it keeps lies in `dir`.
///
/// # Panics
/// When nothing can be written there.
pub fn nginx(dir: &Path, http: &str) -> Command {
    let place = dir.display();
    let config = format!(
        "daemon off; master_process off; pid {place}/pid; error_log stderr warn;
        events {{ worker_connections 1024; }}
        http {{
            access_log off;
            client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;
            uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
            {http}
        }}\n"
    );
    let path = dir.join("nginx.conf");
    std::fs::write(&path, config).expect("the directory takes a file");
    let mut command = Command::new(std::env::var("NGINX").unwrap_or_else(|_| "nginx".to_owned()));
    command.arg("-c").arg(path).arg("-p").arg(dir);
    command
}
