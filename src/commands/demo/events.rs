//! The clickstream of a shop that does not exist: what its visitors do, as JSON events.
//!
//! The same seed, start and first number always give the same events. Puts nothing anywhere.

use std::time::Duration;

use serde::Serialize;

use crate::model::timestamp::Timestamp;

/// One event, ready to be put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Unique over all demos in one folder; also in the payload, as `event`.
    pub number: u64,
    /// The visitor: all that one visitor does stays in one shard, in order.
    pub partition_key: String,
    /// JSON.
    pub data: Vec<u8>,
}

/// Makes events without end.
#[derive(Debug)]
pub struct Clickstream {
    random: fastrand::Rng,
    next: u64,
    at: Timestamp,
    pace: Duration,
}

const VISITORS: u64 = 4_000;
const PAGES: [&str; 6] = ["/", "/sale", "/new", "/magazine/slow-mornings", "/stores", "/account/orders"];
const PRODUCTS: [(&str, &str, u32); 10] = [
    ("Kettle, enamel, 1.2 l", "kitchen", 3_490),
    ("Wool blanket “Fjäll”", "home", 8_900),
    ("Desk lamp, brass", "lighting", 12_950),
    ("Notebook, dotted, A5", "paper", 1_290),
    ("Coffee, Sidamo, 500 g ☕", "food", 1_450),
    ("Rain jacket, yellow", "clothing", 14_900),
    ("Bread knife, 24 cm", "kitchen", 4_200),
    ("Ceramic mug \"Öresund\"", "kitchen", 1_890),
    ("Bicycle bell", "bicycle", 990),
    ("Linen shirt, sand", "clothing", 6_900),
];
const SEARCHES: [&str; 6] =
    ["lamp", "gift for dad", "wool\tblanket", "コーヒー", "knife \\ bread", "mug blue"];
const CITIES: [(&str, &str); 8] = [
    ("Lisboa", "PT"),
    ("Malmö", "SE"),
    ("Kraków", "PL"),
    ("São Paulo", "BR"),
    ("東京", "JP"),
    ("Nairobi", "KE"),
    ("Austin", "US"),
    ("Zürich", "CH"),
];
const AGENTS: [(&str, &str); 4] = [
    (
        "phone",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 19_2 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1",
    ),
    ("desktop", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (
        "desktop",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36",
    ),
    (
        "tablet",
        "Mozilla/5.0 (Linux; Android 16; SM-X910) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36",
    ),
];
const REFERRERS: [Option<&str>; 4] = [
    None,
    Some("https://search.example/?q=bread+knife"),
    Some("https://news.example/weekend?utm_source=letter&utm_medium=email&utm_campaign=2026-47"),
    Some("https://social.example/p/8f31c"),
];

#[derive(Serialize)]
struct Payload<'a> {
    event: u64,
    at: Timestamp,
    user: &'a str,
    session: String,
    #[serde(flatten)]
    action: Action,
    page: String,
    referrer: Option<&'static str>,
    client: Client,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    experiments: Vec<String>,
}

#[derive(Serialize)]
struct Client {
    device: &'static str,
    agent: &'static str,
    ip: String,
    city: &'static str,
    country: &'static str,
    viewport: [u16; 2],
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Action {
    PageView { load_ms: u32, scrolled: f64 },
    Click { element: &'static str, x: u16, y: u16 },
    Search { query: &'static str, results: u16 },
    AddToCart { item: Item },
    Purchase { order: String, total_cents: u32, currency: &'static str, items: Vec<Item> },
}

#[derive(Serialize)]
struct Item {
    sku: String,
    name: &'static str,
    category: &'static str,
    price_cents: u32,
    quantity: u32,
}

impl Clickstream {
    /// Begins with event `first` at `start`, an event every `pace`.
    pub const fn new(random: fastrand::Rng, first: u64, start: Timestamp, pace: Duration) -> Self {
        Self { random, next: first, at: start, pace }
    }

    fn action(&mut self) -> Action {
        match self.random.u32(0..100) {
            0..45 => Action::PageView { load_ms: self.random.u32(80..2_400), scrolled: self.percent() },
            45..75 => Action::Click {
                element: ["nav", "hero", "product-tile", "size", "newsletter"][self.random.usize(0..5)],
                x: self.random.u16(0..1_900),
                y: self.random.u16(0..4_000),
            },
            75..86 => Action::Search {
                query: SEARCHES[self.random.usize(0..SEARCHES.len())],
                results: self.random.u16(0..250),
            },
            86..96 => Action::AddToCart { item: self.item() },
            _ => self.purchase(),
        }
    }

    fn purchase(&mut self) -> Action {
        let count = self.random.usize(1..4);
        let items: Vec<Item> = (0..count).map(|_| self.item()).collect();
        let total_cents = items.iter().map(|item| item.price_cents * item.quantity).sum();
        let order = format!("{:010}", self.random.u32(..));
        Action::Purchase { order, total_cents, currency: "EUR", items }
    }

    fn item(&mut self) -> Item {
        let index = self.random.usize(0..PRODUCTS.len());
        let (name, category, price_cents) = PRODUCTS[index];
        let sku = format!("KK-{:05}", 10_000 + index * 37);
        Item { sku, name, category, price_cents, quantity: self.random.u32(1..4) }
    }

    fn percent(&mut self) -> f64 {
        f64::from(self.random.u32(0..=1_000)) / 1_000.0
    }

    fn page(&mut self, action: &Action) -> String {
        match action {
            Action::AddToCart { item } => format!("/product/{}", item.sku),
            Action::Purchase { .. } => "/checkout/done".to_owned(),
            Action::Search { .. } => "/search".to_owned(),
            Action::PageView { .. } | Action::Click { .. } => {
                PAGES[self.random.usize(0..PAGES.len())].to_owned()
            }
        }
    }
}

/// A visitor keeps to one device and one place.
fn client(visitor: &mut fastrand::Rng) -> Client {
    let (device, agent) = AGENTS[visitor.usize(0..AGENTS.len())];
    let (city, country) = CITIES[visitor.usize(0..CITIES.len())];
    // 198.51.100.0/24 belongs to nobody: it is reserved for examples.
    let ip = format!("198.51.100.{}", visitor.u8(..));
    let viewport = [visitor.u16(360..2_560), visitor.u16(640..1_440)];
    Client { device, agent, ip, city, country, viewport }
}

impl Iterator for Clickstream {
    type Item = serde_json::Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.next;
        self.next += 1;
        self.at = self.at + self.pace;
        // A few visitors do most of the clicking.
        let visitor = self.random.u64(0..VISITORS).min(self.random.u64(0..VISITORS));
        let partition_key = format!("user-{visitor:04}");
        let mut own = fastrand::Rng::with_seed(visitor);
        let action = self.action();
        let experiments = (0..self.random.u8(0..3)).map(|n| format!("exp-{}:{n}", 40 + n * 7)).collect();
        let payload = Payload {
            event: number,
            at: self.at,
            user: &partition_key,
            session: format!("{:016x}", own.u64(..)),
            page: self.page(&action),
            action,
            referrer: REFERRERS[self.random.usize(0..REFERRERS.len())],
            client: client(&mut own),
            experiments,
        };
        Some(serde_json::to_vec(&payload).map(|data| Event { number, partition_key, data }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn events(seed: u64) -> Vec<Event> {
        let random = fastrand::Rng::with_seed(seed);
        let stream = Clickstream::new(random, 101, Timestamp::from_seconds(0), Duration::from_millis(1));
        stream.take(5_000).map(Result::unwrap).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_events() {
        assert_eq!(events(7), events(7));
        assert_ne!(events(7), events(8));
    }

    #[test]
    fn they_are_numbered_varied_and_of_a_realistic_size() {
        let events = events(1);
        for (event, number) in events.iter().zip(101..) {
            assert_eq!(event.number, number);
            let payload: serde_json::Value = serde_json::from_slice(&event.data).unwrap();
            assert_eq!(payload["event"], number);
            assert!((300..=1_000).contains(&event.data.len()), "{}", event.data.len());
        }
        let types: HashSet<String> = events
            .iter()
            .map(|event| {
                serde_json::from_slice::<serde_json::Value>(&event.data).unwrap()["type"].to_string()
            })
            .collect();
        assert_eq!(types.len(), 5);
        assert!(events.iter().map(|event| &event.partition_key).collect::<HashSet<_>>().len() > 1_000);
    }
}
