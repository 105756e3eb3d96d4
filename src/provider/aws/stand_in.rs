//! A network for the demo on an AWS that stands in for the real one. On a real one Landfall makes the environment's.

use std::time::Duration;

use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::types::{Output, StackStatus};

use super::Aws;
use super::failure::Fault;
use crate::domain::step::{Failure, FailureClass};

const STACK: &str = "landfall-demo-network";
const TEMPLATE: &str = include_str!("stand_in.yaml");
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Looks at the stack before it is given up.
const LOOKS: u32 = 240;

/// A network that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandIn {
    /// Its id.
    pub vpc: String,
    /// The ids of its subnets.
    pub subnets: Vec<String>,
}

impl Aws {
    /// The network, made unless it is there.
    ///
    /// # Errors
    /// AWS's, or a stack that does not come to stand.
    pub async fn stand_in_network(&self) -> Result<StandIn, Failure> {
        let client = Client::new(&self.access.caller_config().await);
        let made = client
            .create_stack()
            .stack_name(STACK)
            .template_body(TEMPLATE)
            .send()
            .await
            .map_err(|error| Fault::of(&error));
        if let Err(fault) = made
            && !fault.is_there_already()
        {
            return Err(fault.into_failure("making the network of the demo"));
        }
        for _ in 0..LOOKS {
            if let Some(network) = look(&client).await? {
                return Ok(network);
            }
            let now = self.clock.now();
            self.clock
                .sleep_until(now.checked_add(LOOK_EVERY).unwrap_or(now))
                .await;
        }
        let reason = format!("the stack {STACK} is not made yet: look at it on AWS");
        Err(Failure::new(FailureClass::Transient, reason))
    }
}

/// Nothing while the stack is being made.
async fn look(client: &Client) -> Result<Option<StandIn>, Failure> {
    let found = client.describe_stacks().stack_name(STACK).send().await;
    let found =
        found.map_err(|error| Fault::of(&error).into_failure("looking at the network of the demo"))?;
    let Some(stack) = found.stacks().first() else {
        return Ok(None);
    };
    match stack.stack_status() {
        Some(StackStatus::CreateInProgress) => return Ok(None),
        Some(StackStatus::CreateComplete) => {}
        status => {
            let status = status.map_or("nothing", StackStatus::as_str);
            let reason =
                format!("the stack {STACK} is in {status}: delete it on AWS, and start the demo again");
            return Err(Failure::new(FailureClass::Refused, reason));
        }
    }
    let output = |name: &str| {
        let mut named = stack
            .outputs()
            .iter()
            .filter(|output| output.output_key() == Some(name));
        named
            .next()
            .and_then(Output::output_value)
            .unwrap_or_default()
            .to_owned()
    };
    Ok(Some(StandIn {
        vpc: output("Vpc"),
        subnets: output("Subnets").split(',').map(str::to_owned).collect(),
    }))
}
