//! The package for Debian and its kin: that it holds what it should, installs, upgrades and goes away cleanly, and that
//! systemd finds its unit right and safe. Tests that need dpkg or systemd are marked so.

mod night;
mod prometheus;
mod proxies;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;
use support::chain::{hex_address, Chain, Timing, CHAIN_ID, OPERATOR_KEY};
use support::programs::may_mount;
use support::systemd::Systemd;
use tempfile::TempDir;

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packaging")
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program)
        .args(arguments)
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .output();
    output.unwrap_or_else(|error| panic!("{program} cannot be started: {error}"))
}

/// What a program says when it succeeds.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

fn build_deb(dir: &TempDir, name: &str) -> String {
    let deb = dir.path().join(name).display().to_string();
    let script = here().join("build-deb").display().to_string();
    // As a release is: what a debugger reads would be most of what is packed.
    let stripped = dir.path().join("lottery").display().to_string();
    said("strip", &["-o", &stripped, env!("CARGO_BIN_EXE_lottery")]);
    said(&script, &[&stripped, &deb]);
    deb
}

/// The package as an earlier version would have been: another number, another configuration, and a file that is gone since.
fn earlier(dir: &TempDir, deb: &str) -> String {
    let unpacked = dir.path().join("earlier");
    let (path, earlier) = (unpacked.display().to_string(), format!("{deb}.earlier"));
    said("dpkg-deb", &["--raw-extract", deb, &path]);
    let control = unpacked.join("DEBIAN/control");
    let text = std::fs::read_to_string(&control).unwrap();
    let version = text.lines().find(|line| line.starts_with("Version: "));
    let text = text.replace(version.unwrap(), "Version: 0.0.1");
    std::fs::write(&control, text).unwrap();
    std::fs::write(unpacked.join("etc/lottery/lottery.conf"), "{}").unwrap();
    std::fs::write(unpacked.join("usr/share/doc/lottery/gone"), "").unwrap();
    let build = ["--root-owner-group", "-Znone", "--build", &path, &earlier];
    said("dpkg-deb", &build);
    earlier
}

#[test]
#[ignore = "needs dpkg"]
fn the_package_installs_upgrades_and_goes_away() {
    let dir = TempDir::new().unwrap();
    let deb = build_deb(&dir, "lottery.deb");
    let listed = said("dpkg-deb", &["--contents", &deb]);
    for file in [
        "./usr/bin/lottery",
        "./usr/lib/systemd/system/lottery.service",
        "./etc/lottery/lottery.conf",
        "./usr/share/man/man1/lottery.1.gz",
        "./usr/share/bash-completion/completions/lottery",
        "./usr/share/zsh/vendor-completions/_lottery",
        "./usr/share/fish/vendor_completions.d/lottery.fish",
        "./usr/share/doc/lottery/copyright",
        "./usr/share/doc/lottery/licences.gz",
        "./usr/share/doc/lottery/sbom.cdx.json",
        "./usr/share/doc/lottery/prometheus/rules.yml",
        "./usr/share/doc/lottery/prometheus/dashboard.json",
        "./usr/share/doc/lottery/proxy/nginx.conf",
        "./usr/share/doc/lottery/proxy/Caddyfile",
    ] {
        assert!(listed.contains(file), "{file} is not in\n{listed}");
    }
    assert!(
        !listed.contains("root/root") || !listed.contains("ubuntu/"),
        "{listed}"
    );
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("var/lib/dpkg/updates")).unwrap();
    std::fs::create_dir_all(root.join("var/lib/dpkg/info")).unwrap();
    std::fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    let root_flag = format!("--root={}", root.display());
    let dpkg = |arguments: &[&str]| {
        let mut all = vec![
            root_flag.as_str(),
            "--force-script-chrootless",
            "--force-not-root",
        ];
        all.push("--force-confold");
        all.extend(arguments);
        said("dpkg", &all)
    };
    dpkg(&["--install", &earlier(&dir, &deb)]);
    let installed = root.join("usr/bin/lottery");
    let gone = root.join("usr/share/doc/lottery/gone");
    let conf = root.join("etc/lottery/lottery.conf");
    std::fs::write(&conf, "{\"server\": {\"port\": 7}}").unwrap();
    assert!(gone.exists());
    dpkg(&["--install", &deb]);
    assert!(!gone.exists(), "an upgrade leaves nothing of the old one");
    let version = said(installed.to_str().unwrap(), &["--version"]);
    let status = std::fs::read_to_string(root.join("var/lib/dpkg/status")).unwrap();
    let number = version.split_whitespace().nth(1).unwrap();
    assert!(status.contains(&format!("Version: {number}\n")), "{status}");
    let kept = std::fs::read_to_string(&conf).unwrap();
    assert_eq!(
        kept, "{\"server\": {\"port\": 7}}",
        "an upgrade keeps the configuration"
    );
    dpkg(&["--remove", "lottery"]);
    assert!(!installed.exists() && conf.exists());
    dpkg(&["--purge", "lottery"]);
    assert!(!conf.exists());
}

/// What one of the package's scripts asks of systemd, where that runs: the host is a folder of this test's, and its systemctl
/// notes what it is told.
fn asked_of_systemd(scripts: &Path, call: &[&str], dpkg_root: &str) -> Vec<String> {
    let dir = TempDir::new().unwrap();
    let stub = dir.path().join("systemctl");
    std::fs::write(&stub, "#!/bin/sh\necho \"$*\"\n").unwrap();
    std::fs::set_permissions(&stub, std::fs::Permissions::from_mode(0o755)).unwrap();
    let script = scripts.join(call[0]);
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-ec"])
        .arg("mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec \"$0\" \"$@\"")
        .arg(&script)
        .args(&call[1..])
        .env(
            "PATH",
            format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", dir.path().display()),
        )
        .env("DPKG_ROOT", dpkg_root)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{call:?}: {told}");
    let asked = String::from_utf8(output.stdout).unwrap();
    asked.lines().map(str::to_owned).collect()
}

#[test]
#[ignore = "needs dpkg and unshare"]
fn an_upgrade_restarts_a_daemon_that_runs_and_a_removal_ends_it() {
    if !may_mount() {
        eprintln!("left out: this process may not mount");
        return;
    }
    let dir = TempDir::new().unwrap();
    let deb = build_deb(&dir, "lottery.deb");
    let scripts = dir.path().join("scripts");
    said("dpkg-deb", &["--control", &deb, scripts.to_str().unwrap()]);
    // A daemon that does not run is not started: neither by its installation nor by an upgrade.
    let taken_up = ["daemon-reload", "try-restart lottery.service"];
    let calls: [(&[&str], &[&str]); 6] = [
        (&["postinst", "configure", ""], &taken_up),
        (&["prerm", "upgrade", "0.2.0"], &[]),
        (&["postrm", "upgrade", "0.2.0"], &[]),
        (&["postinst", "configure", "0.0.1"], &taken_up),
        (&["prerm", "remove"], &["disable --now lottery.service"]),
        (&["postrm", "remove"], &["daemon-reload"]),
    ];
    for (call, expected) in calls {
        assert_eq!(asked_of_systemd(&scripts, call, ""), expected, "{call:?}");
        // Into another machine's files: nothing of this one is touched.
        assert_eq!(
            asked_of_systemd(&scripts, call, "/mnt"),
            [""; 0],
            "{call:?}"
        );
    }
}

#[test]
#[ignore = "needs dpkg"]
fn the_same_input_makes_the_same_bytes() {
    let dir = TempDir::new().unwrap();
    let (one, other) = (build_deb(&dir, "one.deb"), build_deb(&dir, "other.deb"));
    let (one, other) = (std::fs::read(one).unwrap(), std::fs::read(other).unwrap());
    assert!(one == other, "two packages of the same binary differ");
}

#[test]
#[ignore = "needs Python"]
fn what_is_inside_is_listed_with_its_licences_and_nothing_else() {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = here().join("sbom.py").display().to_string();
    let listed: serde_json::Value =
        serde_json::from_str(&said(&python, &[&script])).expect("the list is JSON");
    assert_eq!(listed["bomFormat"], "CycloneDX");
    let components = listed["components"].as_array().unwrap();
    let named = |name: &str| components.iter().find(|it| it["name"] == name);
    for name in ["k256", "ureq", "tiny_http", "rustls"] {
        let version = named(name).unwrap_or_else(|| panic!("{name} is not listed"))["version"]
            .as_str()
            .unwrap();
        let lock = include_str!("../../Cargo.lock");
        let entry = format!("name = \"{name}\"\nversion = \"{version}\"");
        assert!(lock.contains(&entry), "{name} {version}");
    }
    // Tests' own packages never reach the binary.
    for name in ["proptest", "tempfile", "devchain", "support"] {
        assert!(named(name).is_none(), "{name} is listed");
    }
    let texts = said(&python, &[&script, "--licences"]);
    for component in components {
        let (name, version) = (&component["name"], &component["version"]);
        let title = format!("{} {}", name.as_str().unwrap(), version.as_str().unwrap());
        assert!(
            component["licenses"][0]["expression"].is_string(),
            "{title}"
        );
        assert!(texts.contains(&format!("== {title}")), "{title}");
    }
}

/// The unit with a program that is there, since systemd looks.
fn unit_in(dir: &TempDir) -> String {
    let unit = std::fs::read_to_string(here().join("lottery.service")).unwrap();
    let unit = unit.replace("/usr/bin/lottery", env!("CARGO_BIN_EXE_lottery"));
    let path = dir.path().join("lottery.service");
    std::fs::write(&path, unit.replace("Documentation=man:lottery(1)\n", "")).unwrap();
    path.display().to_string()
}

#[test]
#[ignore = "needs systemd"]
fn systemd_finds_nothing_wrong_and_little_exposed() {
    let dir = TempDir::new().unwrap();
    let unit = unit_in(&dir);
    let verified = run("systemd-analyze", &["verify", "--man=no", &unit]);
    let told = String::from_utf8_lossy(&verified.stderr).into_owned();
    let of_ours = told.lines().filter(|line| line.contains("lottery"));
    assert_eq!(of_ours.collect::<Vec<_>>(), [""; 0], "{told}");
    let report = said(
        "systemd-analyze",
        &["security", "--offline=true", "--threshold=20", &unit],
    );
    let overall = report
        .lines()
        .find(|line| line.contains("Overall exposure level"));
    let score = overall.and_then(|line| {
        line.split_whitespace()
            .find_map(|word| word.parse::<f64>().ok())
    });
    assert!(score.is_some_and(|score| score <= 1.5), "{overall:?}");
}

/// The unit's own command line, on the files of the package, with what systemd would give it.
#[test]
#[ignore = "needs dpkg"]
fn what_the_unit_starts_tells_systemd_of_start_round_and_end() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("root");
    let deb = build_deb(&dir, "lottery.deb");
    said("dpkg-deb", &["--extract", &deb, root.to_str().unwrap()]);
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let config = json!({
        "server": {"port": 0},
        "blockchain": {
            "rpc_url": chain.url, "chain_id": CHAIN_ID, "contract_address": hex_address(lottery.address),
        },
    });
    std::fs::write(root.join("etc/lottery/lottery.conf"), config.to_string()).unwrap();
    let unit =
        std::fs::read_to_string(root.join("usr/lib/systemd/system/lottery.service")).unwrap();
    // LoadCredential=operator_key.
    let credential = dir.path().join("operator_key");
    std::fs::write(&credential, OPERATOR_KEY).unwrap();
    std::fs::set_permissions(&credential, std::fs::Permissions::from_mode(0o400)).unwrap();
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let words = line
        .unwrap()
        .split(' ')
        .map(|word| match word.strip_prefix('/') {
            Some(path) => root.join(path).display().to_string(),
            None => word.to_owned(),
        });
    let words: Vec<String> = words.collect();
    let systemd = Systemd::listening();
    let mut service = Command::new(&words[0])
        .args(&words[1..])
        .env_clear()
        .env("CREDENTIALS_DIRECTORY", dir.path())
        .envs(systemd.environment(600_000))
        .spawn()
        .unwrap();
    assert_eq!(systemd.wait("READY"), "READY=1");
    systemd.wait("STATUS=round 1 waiting, 0 players, 0 ETH; waiting for the first bet");
    for _ in 0..3 {
        systemd.wait("WATCHDOG=1");
    }
    said("kill", &["-TERM", &service.id().to_string()]);
    systemd.wait("STOPPING=1");
    assert_eq!(service.wait().unwrap().code(), Some(0));
}

#[test]
fn every_line_of_the_unit_has_its_reason() {
    let unit = std::fs::read_to_string(here().join("lottery.service")).unwrap();
    let mut has_reason = false;
    let service = unit.split_once("[Service]").unwrap().1;
    let service = service.split_once("[Install]").unwrap().0;
    for line in service.lines() {
        match line {
            "" => has_reason = false,
            line if line.starts_with('#') => has_reason = true,
            line => assert!(has_reason, "no reason stands above {line}"),
        }
    }
    for needed in [
        "Type=notify",
        "WatchdogSec=",
        "RestartPreventExitStatus=2",
        "LoadCredential=operator_key\n",
        "NoNewPrivileges=yes",
    ] {
        assert!(unit.contains(needed), "{needed}");
    }
}

#[test]
fn completions_name_every_command_and_the_man_page_every_setting() {
    let help = |topic: &str| said(env!("CARGO_BIN_EXE_lottery"), &["help", topic]);
    let overview = said(env!("CARGO_BIN_EXE_lottery"), &["--help"]);
    let commands: Vec<&str> = overview
        .split_once("Commands:\n")
        .and_then(|(_, rest)| rest.split_once("\n\n"))
        .map(|(commands, _)| {
            commands
                .lines()
                .filter_map(|line| line.split_whitespace().next())
                .collect()
        })
        .unwrap();
    assert!(commands.len() >= 6, "{overview}");
    for shell in ["bash", "zsh", "fish", "man"] {
        let text = help(shell);
        for command in &commands {
            assert!(text.contains(command), "{shell}: {command}");
        }
    }
    let names = help("settings");
    let (man, bash) = (help("man").replace("\\-", "-"), help("bash"));
    let settings = names
        .lines()
        .filter_map(|line| line.split_once(" ("))
        .map(|(name, _)| name);
    let settings: Vec<&str> = settings
        .filter(|name| !name.starts_with(' ') && name.contains('.'))
        .collect();
    assert!(settings.len() > 30, "{names}");
    for setting in settings {
        assert!(
            man.contains(setting) && bash.contains(&format!("{setting}=")),
            "{setting}"
        );
    }
}

/// There is nothing for NO_COLOR to turn off.
#[test]
#[ignore = "needs script of util-linux"]
fn even_on_a_terminal_nothing_is_coloured() {
    let faulty = "check --set blockchain.rpc_url=http://127.0.0.1:1 --set blockchain.chain_id=1 \
         --set blockchain.contract_address=0x00000000000000000000000000000000000000aa";
    for (arguments, part) in [
        ("--help", "Commands:"),
        ("draw --rnd", "neither"),
        ("status --set server.port=1", "127.0.0.1:1"),
        (faulty, "refused the connection"),
    ] {
        let line = format!("{} {arguments}", env!("CARGO_BIN_EXE_lottery"));
        let mut script = Command::new("script");
        script
            .args(["-qec", &line, "/dev/null"])
            .env("TERM", "xterm-256color");
        let shown = script.output().expect("script is installed").stdout;
        let shown = String::from_utf8_lossy(&shown);
        // A terminal gets its ends of lines: it was one.
        assert!(shown.contains(part) && shown.contains("\r\n"), "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }
}

#[test]
fn bash_completes_commands_options_and_settings() {
    let dir = TempDir::new().unwrap();
    let script = dir.path().join("lottery.bash");
    std::fs::write(
        &script,
        said(env!("CARGO_BIN_EXE_lottery"), &["help", "bash"]),
    )
    .unwrap();
    let complete = |words: &str, index: usize| {
        let line = format!(
            "compopt() {{ :; }}; source {}; COMP_WORDS=({words}); COMP_CWORD={index}; _lottery; echo \"${{COMPREPLY[*]}}\"",
            script.display()
        );
        said("bash", &["-c", &line]).trim().to_owned()
    };
    assert_eq!(complete("lottery ver", 1), "verify");
    assert_eq!(complete("lottery refund --fo", 2), "--force");
    assert_eq!(complete("lottery run --fo", 2), "");
    assert_eq!(complete("lottery --set server.po", 2), "server.port=");
    assert_eq!(complete("lottery help sett", 2), "settings");
}
