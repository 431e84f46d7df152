//! Hands the commit that is being built to the crate, for `lottery --version` and the build metric, and the page's files:
//! put together, and compressed once for all, so that they take a third of the room in the binary.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::write::GzEncoder;
use flate2::Compression;

#[path = "web/bundle.rs"]
mod bundle;

fn main() {
    let commit = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned());
    println!("cargo:rustc-env=LOTTERY_COMMIT={commit}");
    println!("cargo:rerun-if-changed=.git/HEAD");
    println!("cargo:rerun-if-changed=.git/refs/heads");

    println!("cargo:rerun-if-changed=www");
    let made = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo names the folder"));
    for (name, bytes) in bundle::files(Path::new("www")).expect("the page's files can be read") {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&bytes).expect("a Vec takes all");
        let packed = packed.finish().expect("a Vec takes all");
        std::fs::write(made.join(format!("{name}.gz")), packed)
            .expect("cargo's folder takes files");
    }
}
