//! The proxies that calls go through, as the environment says.
//!
//! Owns which variables count, which hosts never lie behind a proxy, and pools of connections that obey both. What a
//! connection through a proxy looks like is the SDK's business: a tunnel (CONNECT) to what speaks TLS, a forwarded
//! request otherwise.

use std::env;
use std::fmt;

use aws_smithy_http_client::proxy::{ProxyConfig, ProxyError};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder as HttpClientBuilder, Connector};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::{RuntimeComponents, RuntimeComponentsBuilder};
use aws_smithy_types::config_bag::ConfigBag;

/// Not behind a proxy, whatever NO_PROXY says: this machine, and the services that give this machine its credentials
/// (EC2, ECS, EKS). A proxy would ask its own, and hand out those of another machine.
const NEVER: &str = "localhost,127.0.0.0/8,::1,169.254.0.0/16,fd00:ec2::/32";

/// Variables in the order in which they count; one that is empty is none.
const HTTP: [&str; 4] = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
const HTTPS: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const NO: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// A variable names no proxy that calls could go through. Its value is not told: there may be a password in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the proxy in the environment variable {variable} cannot be used ({why}): give it as http://host:port or \
     https://host:port, or unset it"
)]
pub struct BadProxy {
    variable: &'static str,
    why: String,
}

/// Through which proxies calls go.
#[derive(Clone, Default)]
pub struct Proxies(Ways);

#[derive(Clone, Default)]
enum Ways {
    #[default]
    Direct,
    /// One proxy, be it for calls of one scheme or of both.
    One(ProxyConfig),
    /// One configuration of the SDK's names one proxy.
    Each { http: ProxyConfig, https: ProxyConfig },
}

impl Proxies {
    /// As the process' environment says.
    pub(super) fn from_env() -> Result<Self, BadProxy> {
        Self::of(|name| env::var(name).ok())
    }

    /// As these variables say.
    pub(super) fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, BadProxy> {
        let first = |names: &[&'static str]| {
            let given = names.iter().filter_map(|name| Some((*name, variable(name)?.trim().to_owned())));
            given.into_iter().find(|(_, value)| !value.is_empty())
        };
        let mut never = NEVER.to_owned();
        if let Some((_, more)) = first(&NO) {
            never = format!("{never},{more}");
        }
        let for_scheme = |(variable, url): (&'static str, String), make: Make| {
            // As curl and the AWS CLI have it: a proxy without a scheme speaks HTTP.
            let url = if url.contains("://") { url } else { format!("http://{url}") };
            let made = make(url).map_err(|error| BadProxy { variable, why: error.to_string() })?;
            Ok(made.no_proxy(&never))
        };
        Ok(Self(match (first(&HTTP), first(&HTTPS)) {
            (None, None) => Ways::Direct,
            (Some(http), None) => Ways::One(for_scheme(http, ProxyConfig::http)?),
            (None, Some(https)) => Ways::One(for_scheme(https, ProxyConfig::https)?),
            (Some(http), Some(https)) if http.1 == https.1 => Ways::One(for_scheme(https, ProxyConfig::all)?),
            (Some(http), Some(https)) => Ways::Each {
                http: for_scheme(http, ProxyConfig::http)?,
                https: for_scheme(https, ProxyConfig::https)?,
            },
        }))
    }

    /// A pool of connections: HTTP/2 over TLS where the service offers it (by ALPN), as all of AWS does.
    pub(super) fn pool(&self) -> SharedHttpClient {
        match &self.0 {
            Ways::Direct => pool(None),
            Ways::One(proxy) => pool(Some(proxy)),
            Ways::Each { http, https } => {
                SharedHttpClient::new(ByScheme { http: pool(Some(http)), https: pool(Some(https)) })
            }
        }
    }
}

/// Without the URLs: there may be a password in them.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies").finish_non_exhaustive()
    }
}

/// For which calls a proxy is.
type Make = fn(String) -> Result<ProxyConfig, ProxyError>;

fn pool(proxy: Option<&ProxyConfig>) -> SharedHttpClient {
    let proxy = proxy.cloned();
    // The builder's own `build_https` knows of no proxies.
    HttpClientBuilder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::Ring));
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.set_proxy_config(proxy.clone());
        connector.build()
    })
}

/// Calls of each scheme on connections of their own; as a client, and as a client's connector.
#[derive(Debug)]
struct ByScheme<T> {
    http: T,
    https: T,
}

impl HttpClient for ByScheme<SharedHttpClient> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(ByScheme {
            http: self.http.http_connector(settings, components),
            https: self.https.http_connector(settings, components),
        })
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.http.validate_base_client_config(components, config)?;
        self.https.validate_base_client_config(components, config)
    }

    fn validate_final_config(
        &self,
        components: &RuntimeComponents,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.http.validate_final_config(components, config)?;
        self.https.validate_final_config(components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.https.connector_metadata()
    }
}

impl HttpConnector for ByScheme<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let secure = request.uri().starts_with("https:");
        if secure { self.https.call(request) } else { self.http.call(request) }
    }
}

#[cfg(test)]
mod tests;
