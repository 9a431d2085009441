//! Whose credentials are used: STS GetCallerIdentity, which needs no permission.

use aws_sdk_sts::config::Config;

use super::{Refused, Trial, limits};
use crate::aws::clients::Clients;

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account, 12 digits.
    pub account: String,
    /// The user or the role's session.
    pub arn: String,
}

impl Trial {
    /// Asks who calls.
    pub fn caller(&self, clients: &Clients) -> Result<Caller, Refused> {
        let request = clients.sts().get_caller_identity().customize();
        let request = request.config_override(Config::builder().timeout_config(limits()));
        let output = self.call(request.interceptor(self.date.clone()).send())?;
        Ok(Caller { account: output.account.unwrap_or_default(), arn: output.arn.unwrap_or_default() })
    }
}
