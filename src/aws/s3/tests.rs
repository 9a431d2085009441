use super::*;

#[test]
fn etags_lose_their_quotes_and_null_is_no_version() {
    let plain = stored(Some("\"abc\"".into()), Some("null".into()));
    assert_eq!(plain, Stored { etag: "abc".into(), version_id: None });
    assert_eq!(stored(None, Some("v1".into())).version_id.as_deref(), Some("v1"));
}
