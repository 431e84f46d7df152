//! The page: its files, embedded in the binary, and its first screen as the server writes it.
//! What they are made of is left to `bundle`.

use std::fmt::Write;
use std::sync::LazyLock;

use qrcode::render::svg;
use qrcode::QrCode;

use crate::chain::types::U256;
use crate::lottery::snapshot::Snapshot;
use crate::web::query::{BadQuery, Query};
use crate::web::reply::{unpacked, Body, Packed};
use crate::web::routes::BET_PARAMETERS;
use crate::web::view::{self, escape, hero, Hero};

/// What the page is told about where it lives.
pub struct Site<'a> {
    pub chain_id: u64,
    pub contract: String,
    pub explorer_url: Option<&'a str>,
    /// A further script that the page loads, for demonstrations.
    pub added_script: Option<&'static Packed>,
}

/// What a path of the page stands for.
#[derive(Clone, Copy)]
pub enum Asset {
    /// Rendered anew for each reader; with the number of the finished round whose page it is.
    Page(Option<u64>),
    Packed(&'static LazyLock<Packed>),
    Added,
    /// The QR code of a bet.
    BetCode,
}

/// Finished rounds that the page shows at once.
const HISTORY_PAGE_LEN: usize = 10;

const ADDED: &str = "/added.js";
const SCRIPT_TYPE: &str = "text/javascript; charset=utf-8";

/// A file of the page as the build script made it.
macro_rules! gzip {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz"))
    };
}

static TEMPLATE: LazyLock<String> =
    LazyLock::new(|| String::from_utf8_lossy(&unpacked(gzip!("index.html"))).into_owned());
static STYLE: LazyLock<Packed> =
    LazyLock::new(|| Packed::made("text/css; charset=utf-8", gzip!("style.css")));
static SCRIPT: LazyLock<Packed> = LazyLock::new(|| Packed::made(SCRIPT_TYPE, gzip!("app.js")));
/// For those that ask for it whatever the page says: browsers for its bookmarks, and programs that list pages.
static ICON: LazyLock<Packed> =
    LazyLock::new(|| Packed::made("image/x-icon", gzip!("favicon.ico")));
static ROBOTS: LazyLock<Packed> =
    LazyLock::new(|| Packed::made("text/plain; charset=utf-8", gzip!("robots.txt")));

pub fn find(path: &str) -> Option<Asset> {
    match path {
        "/" | "/index.html" => Some(Asset::Page(None)),
        "/style.css" => Some(Asset::Packed(&STYLE)),
        "/app.js" => Some(Asset::Packed(&SCRIPT)),
        "/favicon.ico" => Some(Asset::Packed(&ICON)),
        "/robots.txt" => Some(Asset::Packed(&ROBOTS)),
        ADDED => Some(Asset::Added),
        "/bet.svg" => Some(Asset::BetCode),
        _ => {
            let digits = path.strip_prefix("/round/")?;
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.parse().ok().filter(|id| is_number && *id > 0)?;
            Some(Asset::Page(Some(number)))
        }
    }
}

/// A script that the page is to load beside its own; it lives as long as the process.
pub(crate) fn added_script(source: &str) -> &'static Packed {
    Box::leak(Box::new(Packed::new(SCRIPT_TYPE, source.as_bytes())))
}

impl Asset {
    /// `query` names the content of a file that never changes under that name, and the amount of a bet's code.
    ///
    /// # Errors
    /// Where there is nothing after all, and where the amount is none.
    pub fn body(
        self,
        snapshot: &Snapshot,
        chain_time: u64,
        site: &Site,
        query: Option<&str>,
    ) -> Result<Body, Missing> {
        let packed = match self {
            Asset::Page(round) => return Ok(Body::Page(page(snapshot, chain_time, site, round))),
            Asset::BetCode => {
                let svg = bet_code(site, query).map_err(Missing::Query)?;
                return Ok(Body::Text {
                    content_type: "image/svg+xml",
                    text: svg,
                });
            }
            Asset::Packed(packed) => packed,
            Asset::Added => site.added_script.ok_or(Missing::Nothing)?,
        };
        let is_named = query.and_then(|query| query.strip_prefix("v=")) == Some(packed.digest());
        Ok(match is_named {
            true => Body::Named(packed),
            false => Body::Packed(packed),
        })
    }
}

/// Why a path of the page has no answer.
#[derive(Debug)]
pub enum Missing {
    Nothing,
    Query(BadQuery),
}

/// The QR code that asks a phone's wallet to bet, by EIP-681.
fn bet_code(site: &Site, query: Option<&str>) -> Result<String, BadQuery> {
    let wei = Query::parse(query, BET_PARAMETERS)?.wei("amountWei")?;
    let link = payment_link(site, wei);
    // Only what is longer than any such link does not fit.
    let code = QrCode::new(link.as_bytes()).map_err(|error| BadQuery(error.to_string()))?;
    let image = code.render::<svg::Color>().min_dimensions(200, 200).build();
    Ok(image)
}

fn payment_link(site: &Site, wei: U256) -> String {
    format!(
        "ethereum:{}@{}/placeBet?value={wei}",
        site.contract, site.chain_id
    )
}

/// The page with the current state, or the result of one round, in its first screen.
fn page(snapshot: &Snapshot, chain_time: u64, site: &Site, round: Option<u64>) -> String {
    let root = if round.is_some() { "../" } else { "./" };
    let own = round.and_then(|id| snapshot.history.iter().find(|known| known.round_id == id));
    let mut shown = match own {
        Some(finished) => hero::finished(finished),
        None => view::hero(snapshot, chain_time),
    };
    if own.is_some() {
        shown.actions.push(hero::leave(snapshot));
    }
    let added = site.added_script.map_or(String::new(), |packed| {
        let digest = packed.digest();
        format!("<script type=\"module\" src=\"{root}added.js?v={digest}\"></script>")
    });
    render(|name| {
        let text = match name {
            "root" => root.to_owned(),
            "style" => format!("{root}style.css?v={}", STYLE.digest()),
            "script" => format!("{root}app.js?v={}", SCRIPT.digest()),
            "added" => return added.clone(),
            "chain_id" => site.chain_id.to_string(),
            "contract" => site.contract.clone(),
            "explorer_url" => site.explorer_url.unwrap_or_default().to_owned(),
            "own_round" => round.map_or(String::new(), |id| id.to_string()),
            "as_of" => as_of(snapshot),
            "least" => snapshot
                .config
                .as_deref()
                .map_or(String::new(), |config| view::ether(config.min_bet_wei)),
            "strip" => return shown.strip.svg.clone(),
            "results" => return results(snapshot, root),
            "warnings" => return warnings(snapshot),
            "history_hidden" => return hidden(snapshot.history.is_empty()).to_owned(),
            "history_empty" => return hidden(!snapshot.history.is_empty()).to_owned(),
            // The room of the rows that the script puts there.
            "history_room" => {
                let rows = snapshot.history.len().min(HISTORY_PAGE_LEN);
                return "<tr><th>\u{a0}</th></tr>".repeat(rows);
            }
            name => return hero_text(&shown, name),
        };
        escape(&text)
    })
}

fn hero_text(hero: &Hero, name: &str) -> String {
    let text = match name {
        "title" => &hero.title,
        "description" => &hero.description,
        "phase" => hero.kind,
        "kicker" => &hero.kicker,
        "big" => hero.big.as_deref().unwrap_or_default(),
        "big_hidden" => hidden(hero.big.is_none()),
        "clock" => &hero.clock,
        "clock_hidden" => hidden(hero.big.is_some()),
        "line" => &hero.line,
        "pot" => hero.pot.as_deref().unwrap_or_default(),
        "pot_hidden" => hidden(hero.pot.is_none()),
        "pot_long" => return long(hero.pot.as_deref().unwrap_or_default(), &[11]),
        "clock_long" => return long(&hero.clock, &[5, 6, 8]),
        "actions" => return actions(&hero.actions),
        "pot_line" => &hero.pot_line,
        "note" => &hero.note,
        "strip_words" => &hero.strip.words,
        "bet_title" => match hero.kind {
            "betting" => "Bet in this round",
            "waiting" | "drawn" | "refunded" => "The next round opens with the first bet",
            _ => "This round takes no more bets",
        },
        "odds" => "\u{a0}",
        _ => "",
    };
    escape(text)
}

fn hidden(is_hidden: bool) -> &'static str {
    match is_hidden {
        true => "hidden",
        false => "",
    }
}

/// By how many steps a text is set smaller, as the script says it.
fn long(text: &str, lengths: &[usize]) -> String {
    let count = text.chars().count();
    match lengths.iter().filter(|length| count > **length).count() {
        0 => String::new(),
        steps => format!("data-long=\"{steps}\""),
    }
}

/// The room of the buttons that the script puts there.
fn actions(words: &[String]) -> String {
    let rooms = words
        .iter()
        .map(|words| format!("<span class=\"button\">{}</span>", escape(words)));
    rooms.collect()
}

fn as_of(snapshot: &Snapshot) -> String {
    snapshot.head.map_or_else(
        || "Connecting…".to_owned(),
        |head| format!("As of block {}", view::grouped(head.number)),
    )
}

fn warnings(snapshot: &Snapshot) -> String {
    let mut html = String::new();
    for alert in hero::warnings(snapshot) {
        let (severity, message) = (alert.severity.label(), escape(&alert.message));
        let _ = write!(
            html,
            "<li data-severity=\"{severity}\"><strong>{severity}:</strong> <bdi>{message}</bdi></li>"
        );
    }
    html
}

/// The finished rounds for readers without JavaScript, each linked to its own page.
fn results(snapshot: &Snapshot, root: &str) -> String {
    if snapshot.history.is_empty() {
        return String::new();
    }
    let mut html = String::from("<h2>Finished rounds</h2><ul>");
    for round in snapshot.history.iter() {
        let shown = hero::finished(round);
        let id = round.round_id;
        let title = escape(shown.title.trim_end_matches(" · Lottery"));
        let more = escape(&shown.description);
        let _ = write!(
            html,
            "<li><a href=\"{root}round/{id}\">{title}</a>. {more}</li>"
        );
    }
    html.push_str("</ul>");
    html
}

/// Fills the template's {{names}}.
fn render(value: impl Fn(&str) -> String) -> String {
    let mut html = String::with_capacity(2 * TEMPLATE.len());
    let mut parts = TEMPLATE.split("{{");
    html.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (name, after) = part.split_once("}}").unwrap_or(("", part));
        html.push_str(&value(name));
        html.push_str(after);
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::bundle::{self, declared_name, imports, MODULES};

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/www");

    fn modules() -> Vec<(&'static str, String)> {
        let read = |name: &&'static str| {
            let text = std::fs::read_to_string(format!("{FOLDER}/{name}"));
            (*name, text.unwrap())
        };
        MODULES.iter().map(read).collect()
    }

    #[test]
    fn what_is_embedded_is_what_the_files_make() {
        let made = bundle::files(std::path::Path::new(FOLDER)).unwrap();
        let of = |wanted: &str| &made.iter().find(|(name, _)| *name == wanted).unwrap().1[..];
        assert_eq!(TEMPLATE.as_bytes(), of("index.html"));
        assert_eq!(STYLE.bytes(), of("style.css"));
        assert_eq!(SCRIPT.bytes(), of("app.js"));
        assert_eq!(ICON.bytes(), of("favicon.ico"));
        assert_eq!(ROBOTS.bytes(), of("robots.txt"));
    }

    #[test]
    fn the_page_stays_small() {
        let page = TEMPLATE.len() + STYLE.bytes().len() + SCRIPT.bytes().len();
        assert!(page <= 150_000, "the page is {page} bytes");
        let html = Packed::new("text/html", TEMPLATE.as_bytes());
        let packed = html.gzip().len() + STYLE.gzip().len() + SCRIPT.gzip().len();
        assert!(packed <= 48_000, "the page is {packed} bytes compressed");
    }

    #[test]
    fn every_module_of_the_page_is_in_its_script_once() {
        let mut files: Vec<String> = std::fs::read_dir(FOLDER)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".js"))
            .collect();
        files.sort();
        let mut known = MODULES.to_vec();
        known.sort_unstable();
        assert_eq!(files, known);
    }

    #[test]
    fn modules_import_only_from_those_before_them_and_what_these_export() {
        let modules = modules();
        for (index, (name, source)) in modules.iter().enumerate() {
            for line in source.lines().filter(|line| line.starts_with("import ")) {
                let (names, from) = imports(line).unwrap_or_else(|| panic!("{name}: {line}"));
                let before = modules[..index].iter().find(|(known, _)| *known == from);
                let (_, exporter) = before.unwrap_or_else(|| panic!("{name} imports {from}"));
                for wanted in names.trim_matches(['{', '}', ' ']).split(", ") {
                    let is_there = exporter
                        .lines()
                        .filter_map(|line| line.strip_prefix("export "))
                        .any(|line| declared_name(line) == Some(wanted));
                    assert!(is_there, "{name} imports {wanted} from {from}");
                }
            }
        }
    }

    #[test]
    fn what_a_module_exports_is_named_elsewhere() {
        let modules = modules();
        let is_word = |sign: char| sign.is_alphanumeric() || matches!(sign, '_' | '$');
        for (name, source) in &modules {
            let exports = source
                .lines()
                .filter_map(|line| line.strip_prefix("export "));
            for export in exports.filter_map(declared_name) {
                let words = modules
                    .iter()
                    .flat_map(|(_, text)| text.split(|it| !is_word(it)));
                let count = words.filter(|word| *word == export).count();
                assert!(count > 1, "nobody uses {export} of {name}");
            }
        }
    }

    #[test]
    fn texts_of_the_script_end_on_the_line_where_they_begin() {
        for (name, source) in modules() {
            for line in source.lines() {
                let quotes = line.matches('`').count();
                assert!(quotes.is_multiple_of(2), "{name}: {line}");
            }
        }
    }

    #[test]
    fn a_decoder_reads_the_bet_from_its_code() {
        let site = Site {
            chain_id: 31_337,
            contract: "0x5FbDB2315678afecb367f032d93F642f64180aa3".to_owned(),
            explorer_url: None,
            added_script: None,
        };
        for wei in ["1", "50000000000000000", &U256::MAX.to_string()] {
            let escaped = wei.replacen('1', "%31", 1);
            let svg = bet_code(&site, Some(&format!("v=1&amountWei={escaped}"))).unwrap();
            let (size, picture) = raster(&svg);
            let mut image = rqrr::PreparedImage::prepare_from_greyscale(size, size, |x, y| {
                picture[y * size + x]
            });
            let (_, text) = image.detect_grids()[0].decode().unwrap();
            let contract = &site.contract;
            assert_eq!(
                text,
                format!("ethereum:{contract}@31337/placeBet?value={wei}")
            );
        }
        for bad in [
            None,
            Some("amountWei="),
            Some("amountWei=0"),
            Some("amountWei=-1"),
            Some("amountWei=1e3"),
            Some("amount=1"),
            Some("amountWei=1&amountWei=2"),
        ] {
            let problem = bet_code(&site, bad).unwrap_err().0;
            assert!(problem.starts_with("amountWei is "), "{bad:?}: {problem}");
        }
    }

    /// The picture of an SVG that is one path of rectangles, `Mx yhwvhHxVy`, on white: its width and its pixels.
    fn raster(svg: &str) -> (usize, Vec<u8>) {
        let (_, width) = svg.split_once("width=\"").unwrap();
        let size: usize = width.split_once('"').unwrap().0.parse().unwrap();
        let mut picture = vec![255; size * size];
        let (_, path) = svg.rsplit_once("d=\"M").unwrap();
        for part in path.split_once('"').unwrap().0.split('M') {
            let numbers: Vec<usize> = part
                .split(|letter: char| !letter.is_ascii_digit())
                .filter_map(|number| number.parse().ok())
                .collect();
            let [x, y, width, height, ..] = numbers[..] else {
                continue;
            };
            for row in y..y + height {
                picture[row * size + x..row * size + x + width].fill(0);
            }
        }
        (size, picture)
    }

    #[test]
    fn rounds_have_pages_of_their_own() {
        for (path, round) in [
            ("/", Some(None)),
            ("/index.html", Some(None)),
            ("/round/7", Some(Some(7))),
            ("/round/0", None),
            ("/round/+7", None),
            ("/round/7/", None),
            ("/round/", None),
            ("/round/99999999999999999999", None),
        ] {
            let found = find(path).map(|asset| match asset {
                Asset::Page(round) => round,
                _ => panic!("{path} is a file"),
            });
            assert_eq!(found, round, "{path}");
        }
    }
}
