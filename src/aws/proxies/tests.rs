use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use aws_config::retry::RetryConfig;
use aws_credential_types::Credentials;
use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use tokio::runtime::Runtime;

use super::*;
use crate::aws::clients::{AwsSettings, Clients};

/// A proxy, or a service; it keeps the heads of what it was asked.
struct Stub {
    port: u16,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Clone, Default)]
struct Heard {
    connections: usize,
    /// First line and headers of each request.
    heads: Vec<String>,
    /// The first byte that came through each tunnel.
    within: Vec<u8>,
}

impl Stub {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let keep = Arc::clone(&heard);
        std::thread::spawn(move || {
            while let Ok((connection, _)) = listener.accept() {
                keep.lock().unwrap().connections += 1;
                let keep = Arc::clone(&keep);
                std::thread::spawn(move || serve(&connection, &keep));
            }
        });
        Self { port, heard }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn heard(&self) -> Heard {
        self.heard.lock().unwrap().clone()
    }

    fn lines(&self) -> Vec<String> {
        self.heard().heads.iter().map(|head| head.lines().next().unwrap().to_owned()).collect()
    }
}

/// Opens a tunnel that ends with the first byte, and gives an empty answer to all else, on one connection.
fn serve(connection: &TcpStream, heard: &Mutex<Heard>) -> Option<()> {
    let mut reader = BufReader::new(connection);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let tunnel = head.starts_with("CONNECT ");
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        reader.read_exact(&mut body).ok()?;
        heard.lock().unwrap().heads.push(head);
        if tunnel {
            (&mut &*connection).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
            let mut first = [0];
            reader.read_exact(&mut first).ok()?;
            heard.lock().unwrap().within.push(first[0]);
            return None;
        }
        (&mut &*connection).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").ok()?;
    }
}

/// Clients of a keeper that has these variables in its environment.
struct Keeper {
    runtime: Runtime,
    clients: Clients,
}

impl Keeper {
    fn new(endpoint_url: &str, variables: &[(&str, &str)]) -> Self {
        let variables: HashMap<&str, &str> = variables.iter().copied().collect();
        let proxies = Proxies::of(|name| variables.get(name).map(|&value| value.to_owned())).unwrap();
        let settings = AwsSettings {
            region: Some("us-east-1".into()),
            endpoint_url: Some(endpoint_url.into()),
            credentials: Some(Credentials::new("a", "b", None, None, "test")),
            proxies: Some(proxies),
            ..AwsSettings::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let clients = Clients::load(runtime.handle(), &settings).unwrap();
        Self { runtime, clients }
    }

    /// Whether a call of Kinesis was answered.
    fn calls(&self, client: &aws_sdk_kinesis::Client) -> bool {
        let once = aws_sdk_kinesis::config::Builder::new().retry_config(RetryConfig::disabled());
        let call = client.list_shards().stream_name("clickstream").customize().config_override(once);
        self.runtime.block_on(call.send()).is_ok()
    }

    /// The call that stands for all that credentials are loaded with: at AWS' own address.
    fn calls_sts(&self) -> bool {
        let once = aws_sdk_sts::config::Builder::new().retry_config(RetryConfig::disabled());
        let call = self.clients.sts().get_caller_identity().customize().config_override(once);
        self.runtime.block_on(call.send()).is_ok()
    }
}

/// Loopback to a matcher of addresses, and not to the rules: a host that may lie behind a proxy.
fn elsewhere(service: &Stub) -> String {
    format!("http://0.0.0.0:{}", service.port)
}

#[test]
fn calls_over_tls_go_through_the_proxy_of_the_environment_in_a_tunnel() {
    let proxy = Stub::new();
    let with_password = format!("http://keeper:secret@127.0.0.1:{}", proxy.port);
    let keeper = Keeper::new("https://kinesis.example.test", &[("HTTPS_PROXY", &with_password)]);
    // Nobody speaks TLS at the other end.
    assert!(!keeper.calls(&keeper.clients.kinesis(None)));
    assert!(!keeper.calls(&keeper.clients.kinesis_apart(None)));
    assert!(!keeper.calls_sts());
    let (kinesis, sts) =
        ("connect kinesis.example.test:443 http/1.1", "connect sts.us-east-1.amazonaws.com:443 http/1.1");
    assert_eq!(proxy.lines(), [kinesis, kinesis, sts]);
    let heard = proxy.heard();
    // printf keeper:secret | base64, in lower case.
    let told = "proxy-authorization: basic a2vlcgvyonnly3jlda==";
    assert!(heard.heads.iter().all(|head| head.contains(told)), "{:?}", heard.heads);
    assert_eq!(heard.within, [0x16; 3], "a TLS handshake is all that the proxy sees");
}

#[test]
fn calls_without_tls_are_forwarded_on_connections_that_are_kept() {
    let (proxy, service) = (Stub::new(), Stub::new());
    let keeper = Keeper::new(&elsewhere(&service), &[("http_proxy", &proxy.url())]);
    let client = keeper.clients.kinesis(None);
    assert!((0..3).all(|_| keeper.calls(&client)));
    let forwarded = format!("post {}/ http/1.1", elsewhere(&service));
    assert_eq!(proxy.lines(), [forwarded.as_str(); 3]);
    assert_eq!(proxy.heard().connections, 1);
    assert_eq!(service.heard().connections, 0);
}

#[test]
fn hosts_of_no_proxy_are_called_directly() {
    for no in ["0.0.0.0", ".example.com, 0.0.0.0/8", "*.example.com,0.0.0.0"] {
        let (proxy, service) = (Stub::new(), Stub::new());
        let variables = [("HTTP_PROXY", &*proxy.url()), ("NO_PROXY", no)];
        let keeper = Keeper::new(&elsewhere(&service), &variables);
        assert!(keeper.calls(&keeper.clients.kinesis(None)), "{no}");
        assert_eq!(service.lines(), ["post / http/1.1"], "{no}");
        assert_eq!(proxy.heard().connections, 0, "{no}");
    }
}

#[test]
fn this_machine_is_never_behind_a_proxy() {
    let (proxy, service) = (Stub::new(), Stub::new());
    let keeper = Keeper::new(&service.url(), &[("ALL_PROXY", &proxy.url())]);
    assert!(keeper.calls(&keeper.clients.kinesis(None)));
    assert_eq!((service.heard().connections, proxy.heard().connections), (1, 0));
}

#[test]
fn neither_are_the_services_that_know_its_credentials() {
    // By what the SDK reads the rules with.
    let rules = Matcher::builder().all("http://proxy.example.com:3128").no(NEVER).build();
    let asks = |url: &str| rules.intercept(&url.parse::<Uri>().unwrap()).is_some();
    for direct in [
        "http://169.254.169.254/latest/meta-data/",
        "http://169.254.170.2/v2/credentials",
        "http://169.254.170.23/v1/credentials",
        "http://[fd00:ec2::254]/latest/meta-data/",
        "http://[fd00:ec2::23]/v1/credentials",
        "http://localhost:4566/",
        "http://127.0.0.2/",
        "http://[::1]:4566/",
    ] {
        assert!(!asks(direct), "{direct}");
    }
    assert!(asks("https://kinesis.us-east-1.amazonaws.com/") && asks("http://10.0.0.1/"));
}

#[test]
fn each_scheme_has_its_own_proxy() {
    let (plain, secure, service) = (Stub::new(), Stub::new(), Stub::new());
    let variables = [("HTTP_PROXY", &*plain.url()), ("HTTPS_PROXY", &*secure.url())];
    let keeper = Keeper::new(&elsewhere(&service), &variables);
    let client = keeper.clients.kinesis(None);
    assert!(keeper.calls(&client) && keeper.calls(&client) && !keeper.calls_sts());
    assert_eq!(plain.lines().len(), 2);
    assert_eq!(plain.heard().connections, 1);
    assert_eq!(secure.lines(), ["connect sts.us-east-1.amazonaws.com:443 http/1.1"]);
}

#[test]
fn what_is_no_proxy_is_told_and_its_password_is_not() {
    let of = |variable: &'static str, value: &'static str| {
        Proxies::of(move |name| (name == variable).then(|| value.to_owned()))
    };
    for (variable, value) in [
        ("HTTPS_PROXY", "socks5://keeper:secret@proxy.example.com:1080"),
        ("http_proxy", "http://keeper:secret@proxy example.com"),
        ("ALL_PROXY", "http://"),
    ] {
        let told = of(variable, value).unwrap_err().to_string();
        assert!(told.contains(variable) && told.contains("http://host:port"), "{told}");
        assert!(!told.contains("secret"), "{told}");
    }
    for value in ["proxy.example.com:3128", "https://proxy.example.com", " http://10.0.0.1:3128 ", ""] {
        assert!(of("HTTPS_PROXY", value).is_ok(), "{value}");
    }
    let proxies = of("HTTPS_PROXY", "http://keeper:secret@proxy.example.com").unwrap();
    assert!(!format!("{proxies:?}").contains("secret"));
}

#[test]
fn an_empty_variable_does_not_hide_another() {
    let variables = HashMap::from([("HTTPS_PROXY", ""), ("https_proxy", "socks5://second")]);
    let told = Proxies::of(|name| variables.get(name).map(|&value| value.to_owned())).unwrap_err();
    assert!(told.to_string().contains("variable https_proxy"), "{told}");
}
