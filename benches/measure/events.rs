//! json1k: clickstream events of about 900 bytes, which gzip makes seven times smaller.

use fastrand::Rng;

fn pick(random: &mut Rng, choices: &[&'static str]) -> &'static str {
    choices[random.usize(..choices.len())]
}

/// One page view, with the values of a real site: some of few choices, some all but unique.
pub fn event(random: &mut Rng, number: u64) -> String {
    let head = format!(
        concat!(
            r#"{{"event_id":"{:016x}{:016x}","event_type":"{}","trace":"{:016x}","sent_at":"2026-11-22T05:{:02}:{:02}.{:03}Z","#,
            r#""session":{{"id":"{:016x}","started_at":"2026-11-22T04:{:02}:{:02}.000Z","page_views":{},"is_new":{}}},"#,
            r#""user":{{"id":"user-{}","segment":"{}","consent":["analytics","{}"],"signed_in":{}}},"#,
        ),
        random.u64(..),
        number,
        pick(random, &["page_view", "page_view", "click", "add_to_cart", "search", "purchase"]),
        random.u64(..),
        number / 600 % 60,
        number / 10 % 60,
        random.u16(..1000),
        random.u64(..),
        random.u8(..60),
        random.u8(..60),
        random.u8(1..40),
        random.bool(),
        random.u32(1..20_000),
        pick(random, &["returning", "new", "loyal", "at_risk"]),
        pick(random, &["ads", "email", "none"]),
        random.bool(),
    );
    let cart = format!(
        r#""cart":{{"items":{},"value_cents":{},"currency":"EUR"}},"experiments":{{"checkout_v4":"{}","search_rank":"{}"}}}}"#,
        random.u8(..6),
        random.u32(..40_000),
        pick(random, &["a", "b", "control"]),
        pick(random, &["a", "b"]),
    );
    head + &page_and_device(random) + &cart
}

fn page_and_device(random: &mut Rng) -> String {
    let section = pick(random, &["shoes", "garden", "books", "kitchen", "outdoor", "toys", "music", "sale"]);
    let item = random.u32(1_000..60_000);
    let (city, country, zone) = [
        ("Berlin", "DE", "Europe/Berlin"),
        ("São Paulo", "BR", "America/Sao_Paulo"),
        ("Osaka", "JP", "Asia/Tokyo"),
        ("Austin", "US", "America/Chicago"),
        ("Leeds", "GB", "Europe/London"),
    ][random.usize(..5)];
    format!(
        concat!(
            r#""page":{{"url":"https://www.example.com/{}/item-{}?ref={}","title":"{} – item {}","referrer":"https://{}/","load_ms":{},"scroll_depth":{}}},"#,
            r#""device":{{"type":"{}","user_agent":"Mozilla/5.0 ({}) AppleWebKit/537.36 (KHTML, like Gecko) {}","viewport":"{}","language":"{}"}},"#,
            r#""geo":{{"city":"{}","country":"{}","timezone":"{}","lat":{:.6},"lon":{:.6}}},"#,
        ),
        section,
        item,
        pick(random, &["home", "search", "newsletter", "ad-17", "ad-23"]),
        section,
        item,
        pick(random, &["www.example.com", "www.google.com", "news.example.org"]),
        random.u16(80..3000),
        random.u8(..=100),
        pick(random, &["desktop", "mobile", "tablet"]),
        pick(
            random,
            &["Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7", "X11; Linux x86_64"]
        ),
        pick(random, &["Chrome/142.0.0.0 Safari/537.36", "Version/19.1 Safari/605.1.15", "Firefox/145.0"]),
        pick(random, &["1920x1080", "1440x900", "390x844", "1280x720"]),
        pick(random, &["de-DE", "pt-BR", "ja-JP", "en-US", "en-GB"]),
        city,
        country,
        zone,
        random.f64() * 120.0 - 60.0,
        random.f64() * 360.0 - 180.0,
    )
}
