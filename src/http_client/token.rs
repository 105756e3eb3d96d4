//! An access token that may be replaced while we run.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::secret::Secret;

/// A token of ours. Where it stands in a file, the file is read anew once the token is refused: whoever replaces one that
/// expires need not start anything again. Cloning it shares it.
#[derive(Clone)]
pub struct Token {
    current: Arc<RwLock<Secret>>,
    file: Option<Arc<Path>>,
}

impl From<Secret> for Token {
    /// One that stays as it is.
    fn from(secret: Secret) -> Self {
        Self {
            current: Arc::new(RwLock::new(secret)),
            file: None,
        }
    }
}

impl Token {
    /// One that was read from that file.
    #[must_use]
    pub fn in_file(secret: Secret, file: PathBuf) -> Self {
        Self {
            file: Some(file.into()),
            ..Self::from(secret)
        }
    }

    /// The token as it is now.
    #[must_use]
    pub fn now(&self) -> Secret {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// After that one was refused: whether there is another now. What cannot be a token, such as a file that is just being
    /// written, is not taken.
    #[must_use]
    pub fn renew(&self, refused: &Secret) -> bool {
        let is_another = |secret: &Secret| secret.reveal() != refused.reveal();
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if is_another(&current) {
            return true;
        }
        let Some(file) = &self.file else {
            return false;
        };
        let fresh = match std::fs::read_to_string(file) {
            Ok(text) => Secret::of_line(&text),
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "the forge refuses the token, and its file cannot be read");
                return false;
            }
        };
        let can_be_sent = !fresh.is_empty() && fresh.reveal().bytes().all(|byte| byte.is_ascii_graphic());
        if !can_be_sent || !is_another(&fresh) {
            return false;
        }
        tracing::info!(file = %file.display(), "the forge refused the token: the one that is in its file now is taken");
        *current = fresh;
        true
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_a_file_is_read_anew_once_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let token = Token::in_file(Secret::new("first"), file.clone());
        let shared = token.clone();
        let refused = token.now();
        assert!(!token.renew(&refused), "there is no file");
        for text in ["", "\n", "first\n", "half a token"] {
            std::fs::write(&file, text).unwrap();
            assert!(!token.renew(&refused), "{text:?}");
            assert_eq!(token.now().reveal(), "first");
        }
        std::fs::write(&file, "second\r\n").unwrap();
        assert!(token.renew(&refused));
        assert_eq!(shared.now().reveal(), "second");
        std::fs::remove_file(&file).unwrap();
        assert!(shared.renew(&refused), "somebody else has renewed it");
        assert!(!shared.renew(&shared.now()));
        assert_eq!(format!("{token:?}"), "[secret]");
    }

    #[test]
    fn a_token_of_no_file_stays() {
        let token = Token::from(Secret::new("first"));
        assert!(!token.renew(&token.now()));
    }
}
