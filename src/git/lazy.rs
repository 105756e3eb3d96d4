//! A mirror whose address is found out at its first use, so that nothing has to be up when Landfall starts.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::Mutex;
use url::Url;

use super::{GitError, Mirror, MirrorOptions};
use crate::http_client::Token;

/// What is known of a mirror beside its address.
#[derive(Clone)]
pub struct MirrorDefaults {
    /// The mirror's folder.
    pub directory: PathBuf,
    /// Who the token belongs to.
    pub username: String,
    /// A token that may read the repository.
    pub token: Token,
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
    opened: Mutex<Option<(Url, Mirror)>>,
}

impl LazyMirror {
    /// Nothing is opened yet.
    #[must_use]
    pub fn new(defaults: MirrorDefaults) -> Self {
        Self {
            defaults,
            opened: Mutex::new(None),
        }
    }

    /// The mirror; the first time, it is opened at the address that `address` finds out.
    ///
    /// # Errors
    /// Those of `address`, and of [`Mirror::open`]. The next call tries again.
    pub async fn get<E: From<GitError>>(
        &self,
        address: impl Future<Output = Result<Url, E>>,
    ) -> Result<Mirror, E> {
        let mut opened = self.opened.lock().await;
        if let Some((_, mirror)) = &*opened {
            return Ok(mirror.clone());
        }
        let url = address.await?;
        let mirror = self.open(&url).await?;
        *opened = Some((url, mirror.clone()));
        Ok(mirror)
    }

    /// Goes on at another address, if it is another: paths change hands, and whoever gets an old one must not be
    /// taken for this repository.
    ///
    /// # Errors
    /// Those of [`Mirror::open`].
    pub async fn follow(&self, url: Url) -> Result<(), GitError> {
        let mut opened = self.opened.lock().await;
        if opened.as_ref().is_some_and(|(known, _)| *known != url) {
            let mirror = self.open(&url).await?;
            *opened = Some((url, mirror));
        }
        Ok(())
    }

    async fn open(&self, url: &Url) -> Result<Mirror, GitError> {
        let MirrorDefaults {
            directory,
            username,
            token,
            client,
            fetch_limit,
            fetch_time,
        } = self.defaults.clone();
        Mirror::open(MirrorOptions {
            directory,
            url: url.clone(),
            username,
            token,
            client,
            fetch_limit,
            fetch_time,
        })
        .await
    }
}
