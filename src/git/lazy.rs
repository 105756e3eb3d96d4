//! A mirror whose address is found out at its first use, so that nothing has to be up when Landfall starts.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::OnceCell;
use url::Url;

use super::{GitError, Mirror, MirrorOptions};
use crate::domain::secret::Secret;

/// What is known of a mirror beside its address.
#[derive(Clone)]
pub struct MirrorDefaults {
    /// The mirror's folder.
    pub directory: PathBuf,
    /// Who the token belongs to.
    pub username: String,
    /// A token that may read the repository.
    pub token: Secret,
    /// For proxy, certificates and connection time-outs.
    pub client: reqwest::Client,
    /// How many bytes the answers of one fetch may have.
    pub fetch_limit: u64,
    /// How long the exchange of one fetch may take.
    pub fetch_time: Duration,
}

/// A mirror that is opened at its first use.
pub struct LazyMirror {
    defaults: MirrorDefaults,
    opened: OnceCell<Mirror>,
}

impl LazyMirror {
    /// Nothing is opened yet.
    #[must_use]
    pub fn new(defaults: MirrorDefaults) -> Self {
        Self {
            defaults,
            opened: OnceCell::new(),
        }
    }

    /// The mirror; the first time, it is opened at the address that `address` finds out.
    ///
    /// # Errors
    /// Those of `address`, and of [`Mirror::open`]. The next call tries again.
    pub async fn get<E: From<GitError>>(
        &self,
        address: impl Future<Output = Result<Url, E>>,
    ) -> Result<&Mirror, E> {
        self.opened
            .get_or_try_init(|| async {
                let MirrorDefaults {
                    directory,
                    username,
                    token,
                    client,
                    fetch_limit,
                    fetch_time,
                } = self.defaults.clone();
                let url = address.await?;
                let options = MirrorOptions {
                    directory,
                    url,
                    username,
                    token,
                    client,
                    fetch_limit,
                    fetch_time,
                };
                Ok(Mirror::open(options).await?)
            })
            .await
    }
}
