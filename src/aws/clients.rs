//! The SDK's clients, all from one shared configuration: region, credentials, TLS, time-outs.
//!
//! Owns what is the same for every service. What a call does and how long it may take is its
//! adapter's business.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::connections::Connections;
use super::proxies::{BadProxy, Proxies};

/// A TCP and TLS handshake takes well under a second to any region; after three the host is not there.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Longer than S3 takes to breathe under load, much shorter than a dead connection takes to show.
const STALL_GRACE: Duration = Duration::from_secs(20);

/// Profile files and the metadata service (off EC2 four tries of a second) have answered by then.
const LOAD_DEADLINE: Duration = Duration::from_secs(30);

/// One try and two more: what is transient is over by then; the callers' own backoff does the rest.
const ATTEMPTS: u32 = 3;

/// What the `[aws]` section says; all else comes from the SDK's default chain.
#[derive(Clone, Debug, Default)]
pub struct AwsSettings {
    /// The region; `None`: as the environment, the profile or the instance says.
    pub region: Option<String>,
    /// One endpoint for Kinesis, S3, SNS and CloudWatch; STS keeps its own.
    pub endpoint_url: Option<String>,
    /// A profile of the shared configuration files.
    pub profile: Option<String>,
    /// A role to take on with the credentials found.
    pub role_arn: Option<String>,
    /// Fixed credentials (demo, tests) in place of the default chain.
    pub credentials: Option<Credentials>,
    /// S3 by path, not by host name; always so with an `endpoint_url`.
    pub force_path_style: bool,
    /// The proxies that calls go through; `None`: as the environment says.
    pub proxies: Option<Proxies>,
}

impl AwsSettings {
    /// For a server of this machine that takes any credentials (demo, tests). No proxy is asked for it.
    pub fn local(endpoint_url: impl Into<String>) -> Self {
        Self {
            region: Some("us-east-1".to_owned()),
            endpoint_url: Some(endpoint_url.into()),
            credentials: Some(Credentials::new("local", "local", None, None, "kinesis-keeper")),
            proxies: Some(Proxies::default()),
            ..Self::default()
        }
    }
}

/// The SDK could not be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientsError {
    /// No region anywhere.
    #[error(
        "no AWS region was found: set aws.region in the configuration file, AWS_REGION in the \
         environment, or region in the profile"
    )]
    NoRegion,
    /// Looking for the region took too long.
    #[error(
        "looking for the AWS region and credentials took more than {} s: set aws.region in the configuration file",
        LOAD_DEADLINE.as_secs()
    )]
    Deadline,
    /// The environment names a proxy that is none.
    #[error(transparent)]
    Proxy(#[from] BadProxy),
}

/// Makes clients; cheap to clone, and all clones share connections and credentials.
#[derive(Clone, Debug)]
pub struct Clients {
    config: SdkConfig,
    region: Region,
    endpoint_url: Option<String>,
    path_style: bool,
    proxies: Proxies,
}

impl Clients {
    /// Finds region and credentials on the runtime; must be called from outside of it.
    ///
    /// Credentials are looked up at the first call, so a missing one shows there.
    pub fn load(handle: &Handle, settings: &AwsSettings) -> Result<Self, ClientsError> {
        let load = Box::pin(async { timeout(LOAD_DEADLINE, Self::load_now(settings)).await });
        handle.block_on(load).map_err(|_| ClientsError::Deadline)?
    }

    async fn load_now(settings: &AwsSettings) -> Result<Self, ClientsError> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let proxies = match settings.proxies.clone() {
            Some(proxies) => proxies,
            None => Proxies::from_env()?,
        };
        let through = proxies.clone();
        // Retries are set here and not by AWS_RETRY_MODE and AWS_MAX_ATTEMPTS: the SDK panics on bad values.
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(Connections::new(move || through.pool()))
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
            .stalled_stream_protection(
                StalledStreamProtectionConfig::enabled().grace_period(STALL_GRACE).build(),
            );
        if let Some(region) = given(&settings.region) {
            loader = loader.region(Region::new(region));
        }
        if let Some(profile) = given(&settings.profile) {
            loader = loader.profile_name(profile);
        }
        if let Some(credentials) = settings.credentials.clone() {
            loader = loader.credentials_provider(credentials);
        }
        let mut config = loader.load().await;
        let region = config.region().cloned().ok_or(ClientsError::NoRegion)?;
        if let Some(role) = given(&settings.role_arn) {
            let builder = AssumeRoleProvider::builder(role).configure(&config).session_name("kinesis-keeper");
            let provider = match config.credentials_provider() {
                Some(base) => builder.build_from_provider(base).await,
                None => builder.build().await,
            };
            let provider = SharedCredentialsProvider::new(provider);
            config = config.into_builder().credentials_provider(provider).build();
        }
        let endpoint_url = given(&settings.endpoint_url);
        let path_style = settings.force_path_style || endpoint_url.is_some();
        Ok(Self { config, region, endpoint_url, path_style, proxies })
    }

    /// The same, at another endpoint (by path, for S3).
    pub fn at_endpoint(&self, url: impl Into<String>) -> Self {
        Self { endpoint_url: Some(url.into()), path_style: true, ..self.clone() }
    }

    /// The region that was found.
    pub fn region(&self) -> &str {
        self.region.as_ref()
    }

    /// Kinesis, in the region of `arn` if it names one.
    pub(super) fn kinesis(&self, arn: Option<&str>) -> aws_sdk_kinesis::Client {
        self.kinesis_by(arn, aws_sdk_kinesis::config::Builder::from(&self.config))
    }

    /// The same, on connections of its own, which the caller leaves.
    pub(super) fn kinesis_apart(&self, arn: Option<&str>) -> aws_sdk_kinesis::Client {
        let builder = aws_sdk_kinesis::config::Builder::from(&self.config);
        self.kinesis_by(arn, builder.http_client(self.proxies.pool()))
    }

    fn kinesis_by(
        &self,
        arn: Option<&str>,
        builder: aws_sdk_kinesis::config::Builder,
    ) -> aws_sdk_kinesis::Client {
        let mut builder = builder.region(self.region_for(arn));
        if let Some(url) = &self.endpoint_url {
            builder = builder.endpoint_url(url);
        }
        aws_sdk_kinesis::Client::from_conf(builder.build())
    }

    /// S3.
    pub(super) fn s3(&self) -> aws_sdk_s3::Client {
        let mut builder = aws_sdk_s3::config::Builder::from(&self.config);
        if let Some(url) = &self.endpoint_url {
            builder = builder.endpoint_url(url);
        }
        if self.path_style {
            builder = builder.force_path_style(true);
        }
        aws_sdk_s3::Client::from_conf(builder.build())
    }

    /// SNS, in the region of the topic.
    pub(super) fn sns(&self, topic_arn: &str) -> aws_sdk_sns::Client {
        let region = self.region_for(Some(topic_arn));
        let mut builder = aws_sdk_sns::config::Builder::from(&self.config).region(region);
        if let Some(url) = &self.endpoint_url {
            builder = builder.endpoint_url(url);
        }
        aws_sdk_sns::Client::from_conf(builder.build())
    }

    /// CloudWatch.
    pub(super) fn cloudwatch(&self) -> aws_sdk_cloudwatch::Client {
        let mut builder = aws_sdk_cloudwatch::config::Builder::from(&self.config);
        if let Some(url) = &self.endpoint_url {
            builder = builder.endpoint_url(url);
        }
        aws_sdk_cloudwatch::Client::from_conf(builder.build())
    }

    /// STS, wherever the default chain says that it is.
    pub(super) fn sts(&self) -> aws_sdk_sts::Client {
        aws_sdk_sts::Client::new(&self.config)
    }

    fn region_for(&self, arn: Option<&str>) -> Region {
        match arn.and_then(region_of) {
            Some(region) => Region::new(region.to_owned()),
            None => self.region.clone(),
        }
    }
}

/// The region in an ARN, if it has one.
fn region_of(arn: &str) -> Option<&str> {
    let mut parts = arn.split(':');
    if parts.next() != Some("arn") {
        return None;
    }
    parts.nth(2).filter(|region| !region.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_tells_its_region() {
        assert_eq!(region_of("arn:aws:sns:eu-west-1:123456789012:topic"), Some("eu-west-1"));
        assert_eq!(region_of("arn:aws:s3:::bucket"), None);
        assert_eq!(region_of("topic"), None);
    }

    #[test]
    fn what_is_missing_is_named() {
        let text = ClientsError::NoRegion.to_string();
        assert!(text.contains("aws.region") && text.contains("AWS_REGION"), "{text}");
    }
}
