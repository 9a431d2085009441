//! Connections that may be dead are left.
//!
//! Owns which pool of connections the next call is made on. Over HTTP/2 all calls of a service share one connection,
//! and go on using it when nothing comes from it any more (a NAT that forgot it, a host that is gone): each would run
//! into its deadline until the kernel gives up, a quarter of an hour later. So a call that is let go without an answer
//! takes the pool with it: those under way there go on, the next ones begin on new connections.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::{RuntimeComponents, RuntimeComponentsBuilder};
use aws_smithy_types::config_bag::ConfigBag;

/// How a pool is made.
type Make = dyn Fn() -> SharedHttpClient + Send + Sync;

/// The pool of connections that calls are made on.
#[derive(Clone)]
pub(super) struct Connections {
    make: Arc<Make>,
    pool: Arc<Mutex<Pool>>,
}

#[derive(Clone)]
struct Pool {
    client: SharedHttpClient,
    /// How many there were before.
    number: u64,
    /// A call went without an answer: the next is not made here.
    left: bool,
}

impl Connections {
    /// On pools that are made so.
    pub(super) fn new(make: impl Fn() -> SharedHttpClient + Send + Sync + 'static) -> Self {
        let pool = Pool { client: make(), number: 0, left: false };
        Self { make: Arc::new(make), pool: Arc::new(Mutex::new(pool)) }
    }

    fn current(&self) -> Pool {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.left {
            *pool = Pool { client: (self.make)(), number: pool.number + 1, left: false };
        }
        pool.clone()
    }

    /// Calls that were under way together leave their pool once.
    fn leave(&self, number: u64) {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.left |= pool.number == number;
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

impl HttpClient for Connections {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let Pool { client, number, .. } = self.current();
        let connector = client.http_connector(settings, components);
        SharedHttpConnector::new(OfPool { connector, number, connections: self.clone() })
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.current().client.validate_base_client_config(components, config)
    }

    fn validate_final_config(
        &self,
        components: &RuntimeComponents,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.current().client.validate_final_config(components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.current().client.connector_metadata()
    }
}

/// Makes calls on one pool.
#[derive(Debug)]
struct OfPool {
    connector: SharedHttpConnector,
    number: u64,
    connections: Connections,
}

impl HttpConnector for OfPool {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = self.connector.call(request);
        let call = Call { pool: Some(self.number), connections: self.connections.clone() };
        HttpConnectorFuture::new(async move {
            let answer = answer.await;
            // An error is an answer, too: the pool knows that connection to be broken.
            call.came_back();
            answer
        })
    }
}

/// A call under way; let go with its pool, it was not answered.
struct Call {
    pool: Option<u64>,
    connections: Connections,
}

impl Call {
    fn came_back(mut self) {
        self.pool = None;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(number) = self.pool {
            self.connections.leave(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use aws_config::BehaviorVersion;
    use aws_config::timeout::TimeoutConfig;
    use aws_sdk_sns::config::{Credentials, Region};
    use aws_smithy_runtime_api::client::http::http_client_fn;
    use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
    use aws_smithy_types::body::SdkBody;

    use super::*;

    /// The first pool gives no answers, the others do.
    fn first_is_dead(made: &Arc<AtomicUsize>) -> Connections {
        let made = Arc::clone(made);
        Connections::new(move || {
            let number = made.fetch_add(1, Ordering::Relaxed);
            http_client_fn(move |_, _| {
                SharedHttpConnector::new(if number == 0 { Peer::Dead } else { Peer::Refuses })
            })
        })
    }

    #[derive(Debug)]
    enum Peer {
        Dead,
        Refuses,
    }

    impl HttpConnector for Peer {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            match self {
                Self::Dead => HttpConnectorFuture::new(std::future::pending()),
                Self::Refuses => HttpConnectorFuture::ready(Ok(HttpResponse::new(
                    400.try_into().unwrap(),
                    SdkBody::from("no"),
                ))),
            }
        }
    }

    #[test]
    fn a_call_without_an_answer_leaves_the_connections_once_for_all_that_were_under_way() {
        let made = Arc::new(AtomicUsize::new(0));
        let limits = TimeoutConfig::builder().operation_timeout(Duration::from_millis(50)).build();
        let config = aws_sdk_sns::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(first_is_dead(&made))
            .credentials_provider(Credentials::new("a", "b", None, None, "test"))
            .region(Region::new("us-east-1"))
            .timeout_config(limits)
            .build();
        let client = aws_sdk_sns::Client::from_conf(config);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let call = || client.publish().topic_arn("arn").message("m").send();
            let (one, other) = tokio::join!(call(), call());
            assert!(one.is_err() && other.is_err());
            assert_eq!(made.load(Ordering::Relaxed), 1, "nothing is made before it is needed");
            for _ in 0..2 {
                let told = call().await.unwrap_err();
                assert_eq!(told.raw_response().map(|raw| raw.status().as_u16()), Some(400), "{told:?}");
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 2);
    }
}
