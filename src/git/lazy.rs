//! A mirror whose address is found out at its first use, so that nothing has to be up when Landfall starts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use url::Url;

use super::{GitError, LocalCopies, LocalCopy, Mirror, MirrorOptions};
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

#[async_trait]
impl LocalCopies for LazyMirror {
    async fn opened(&self) -> Option<Arc<dyn LocalCopy>> {
        let opened = self.opened.lock().await;
        let (_, mirror) = opened.as_ref()?;
        Some(Arc::new(mirror.clone()))
    }

    async fn open_at(&self, url: Url) -> Result<Arc<dyn LocalCopy>, GitError> {
        let mut opened = self.opened.lock().await;
        if let Some((_, mirror)) = &*opened {
            return Ok(Arc::new(mirror.clone()));
        }
        let mirror = self.open(&url).await?;
        *opened = Some((url, mirror.clone()));
        Ok(Arc::new(mirror))
    }

    async fn follow(&self, url: Url) -> Result<(), GitError> {
        let mut opened = self.opened.lock().await;
        if opened.as_ref().is_some_and(|(known, _)| *known != url) {
            let mirror = self.open(&url).await?;
            *opened = Some((url, mirror));
        }
        Ok(())
    }
}
