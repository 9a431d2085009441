//! The status page and the JSON behind it, through HTTP. How the page looks is tried in a real browser by
//! `.ci/page`.

use serde_json::Value;

use crate::support::keeper::LIMIT;
use crate::support::proxy::{Proxy, s3_error};
use crate::support::scene::Scene;
use crate::support::{http, wait_for};

fn status(address: &str) -> Option<Value> {
    let answer = http::get(address, "/status.json").filter(|answer| answer.status() == 200)?;
    Some(serde_json::from_slice(&answer.body).unwrap())
}

#[test]
fn the_page_and_its_json_show_what_is_archived() {
    let mut scene = Scene::new("page", 2);
    scene.put(100);
    let (setting, address) = scene.setting().max_age("1s").with_http();
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    let page = http::get(&address, "/").unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
    assert!(page.text().contains("fetch(\"status.json\""));
    let status = wait_for("both shards' batches", LIMIT, || {
        status(&address).filter(|status| {
            let shards = status["shards"].as_array().unwrap();
            shards.len() == 2 && shards.iter().all(|shard| shard["last_batch"].is_object())
        })
    });
    assert_eq!((status["version"].as_u64(), status["healthy"].as_bool()), (Some(1), Some(true)));
    assert_eq!(status["stream"], scene.stream.as_str());
    assert_eq!(status["archive"], format!("s3://{}/", scene.bucket));
    assert_eq!(status["troubles"], serde_json::json!([]));
    assert_eq!(status["totals"]["records_read"], 100);
    assert_eq!(status["totals"]["shards_running"], 2);
    let minutes = status["last_hour"].as_array().unwrap();
    assert_eq!(minutes.iter().map(|minute| minute["records"].as_u64().unwrap()).sum::<u64>(), 100);
    let archive = scene.check();
    for batch in status["last_batches"].as_array().unwrap() {
        let object = &archive.objects[batch["key"].as_str().unwrap()];
        assert_eq!(batch["size"].as_u64(), Some(object.body.len() as u64));
        assert_eq!(batch["url"], format!("s3://{}/{}", scene.bucket, batch["key"].as_str().unwrap()));
    }
    let shard = &status["shards"][0];
    assert_eq!((shard["activity"].as_str(), shard["restarts"].as_u64()), (Some("reading"), Some(0)));
    assert_eq!(shard["read_to"], shard["archived_to"]);
    keeper.stop();
}

#[test]
fn trouble_is_told_in_plain_words_and_goes_away() {
    let mut scene = Scene::new("trouble", 1);
    let (mut setting, address) = scene.setting().max_age("1s").with_http();
    let proxy = Proxy::new(&setting.s3);
    setting.s3 = proxy.endpoint().to_owned();
    let mut keeper = setting.start();
    wait_for("the shard to read", LIMIT, || {
        status(&address).filter(|status| status["shards"][0]["activity"] == "reading")
    });
    let away = proxy.always(|request| request.method == "PUT", s3_error(503, "SlowDown"));
    scene.put(20);
    wait_for("the trouble", LIMIT, || {
        status(&address).filter(|status| {
            let told = status["troubles"][0].as_str().unwrap_or_default();
            told.contains("PutObject") && status["shards"][0]["spool_bytes"].as_u64() > Some(0)
        })
    });
    away.end();
    scene.wait_all_archived(LIMIT);
    wait_for("all to be well", LIMIT, || {
        status(&address)
            .filter(|status| status["troubles"] == serde_json::json!([]))
            .filter(|status| status["shards"][0]["spool_bytes"] == 0)
    });
    keeper.stop();
    scene.check();
}
