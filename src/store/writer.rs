//! The one writer of a process: what arrives while a transaction commits goes together into the next one, so that
//! a burst costs few waits for the disk and a lone intent waits for nobody.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt as _;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use crate::store::StoreError;

/// So many intents share a transaction at most: the first of them waits for the last.
const LARGEST_GROUP: usize = 64;
/// So many intents may wait; whoever comes then waits to be let in.
const LONGEST_QUEUE: usize = 1024;

/// What an intent does with the connection; it ends with the transaction.
pub(in crate::store) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'c>>;

/// Hands intents to the writer.
pub(in crate::store) struct Writer {
    queue: mpsc::Sender<Message>,
    commits: Arc<AtomicU64>,
}

enum Message {
    Intent(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

impl Writer {
    /// Starts the writer on that connection; the options serve to connect again if it breaks.
    pub(in crate::store) fn start(connection: SqliteConnection, options: SqliteConnectOptions) -> Self {
        let (queue, messages) = mpsc::channel(LONGEST_QUEUE);
        let commits = Arc::new(AtomicU64::new(0));
        let task = Task {
            connection: Some(connection),
            options,
            commits: Arc::clone(&commits),
        };
        tokio::spawn(task.run(messages));
        Self { queue, commits }
    }

    /// Carries out an intent; returns once it is durable, or was rolled back.
    pub(in crate::store) async fn write<T, F>(&self, intent: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Waiting {
            intent: Some(intent),
            result: None,
            reply,
        });
        self.queue
            .send(Message::Intent(job))
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// How many transactions were committed.
    pub(in crate::store) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Carries out what is queued, then ends the writer.
    pub(in crate::store) async fn close(&self) {
        let (closed, wait) = oneshot::channel();
        if self.queue.send(Message::Close(closed)).await.is_ok() {
            // An error means that the writer is gone, which is what was asked for.
            let _ = wait.await;
        }
    }
}

/// An intent whose type of result is forgotten.
trait Job: Send {
    /// Carries it out in a savepoint; says whether that should be kept.
    fn run<'c>(
        &'c mut self,
        connection: &'c mut SqliteConnection,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'c>>;

    /// Tells the caller: its own result if the group was committed or its own part rolled back.
    fn answer(self: Box<Self>, group: Result<(), StoreError>);
}

struct Waiting<T, F> {
    intent: Option<F>,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Waiting<T, F>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
{
    fn run<'c>(
        &'c mut self,
        connection: &'c mut SqliteConnection,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'c>> {
        Box::pin(async move {
            if let Some(intent) = self.intent.take() {
                let work = AssertUnwindSafe(async move { intent(connection).await });
                self.result = Some(work.catch_unwind().await.unwrap_or(Err(StoreError::Panicked)));
            }
            matches!(self.result, Some(Ok(_)))
        })
    }

    fn answer(self: Box<Self>, group: Result<(), StoreError>) {
        let result = match (self.result, group) {
            (Some(Err(own)), _) => Err(own),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (_, Err(failed)) => Err(failed),
            (None, Ok(())) => Err(StoreError::Closed),
        };
        // An error means that the caller no longer waits.
        let _ = self.reply.send(result);
    }
}

struct Task {
    connection: Option<SqliteConnection>,
    options: SqliteConnectOptions,
    commits: Arc<AtomicU64>,
}

impl Task {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut received = Vec::with_capacity(LARGEST_GROUP);
        while messages.recv_many(&mut received, LARGEST_GROUP).await > 0 {
            let mut jobs = Vec::with_capacity(received.len());
            let mut closed = Vec::new();
            for message in received.drain(..) {
                match message {
                    Message::Intent(job) => jobs.push(job),
                    Message::Close(reply) => closed.push(reply),
                }
            }
            if !closed.is_empty() {
                messages.close();
                while let Ok(message) = messages.try_recv() {
                    match message {
                        Message::Intent(job) => jobs.push(job),
                        Message::Close(reply) => closed.push(reply),
                    }
                }
            }
            if !jobs.is_empty() {
                self.carry_out(jobs).await;
            }
            if !closed.is_empty() {
                self.disconnect().await;
            }
            for reply in closed {
                let _ = reply.send(());
            }
        }
        self.disconnect().await;
    }

    async fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the database connection did not close cleanly");
        }
    }

    async fn carry_out(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        let committed = self.transaction(&mut jobs).await;
        if let Err(error) = &committed {
            tracing::error!(%error, intents = jobs.len(), "a group of intents was not committed");
            // Its state is not known; a fresh one starts from what is durable.
            self.connection = None;
        } else {
            self.commits.fetch_add(1, Ordering::Relaxed);
        }
        for job in jobs {
            job.answer(committed.as_ref().copied().map_err(|error| StoreError::Commit {
                problem: error.to_string(),
            }));
        }
    }

    async fn transaction(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), sqlx::Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(SqliteConnection::connect_with(&self.options).await?),
        };
        // Deferred transactions that read first and write later fail under contention, whatever the timeout.
        let mut group = connection.begin_with("BEGIN IMMEDIATE").await?;
        for job in jobs {
            let mut part = group.begin().await?;
            if job.run(&mut part).await {
                part.commit().await?;
            } else {
                part.rollback().await?;
            }
        }
        group.commit().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::future::join_all;
    use jiff::Timestamp;
    use tempfile::TempDir;

    use crate::clock::ManualClock;
    use crate::domain::key::Key;
    use crate::store::{Mark, Store, StoreError, StoreOptions, Touch};

    async fn open(folder: &TempDir) -> Store {
        let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let path = folder.path().join("landfall.db");
        Store::open(StoreOptions {
            path,
            clock,
            mark: Mark::Sandbox,
        })
        .await
        .unwrap()
    }

    fn review(number: usize) -> Touch {
        Touch::fact(format!("review/platform/{number}").parse::<Key>().unwrap())
    }

    /// An intent that writes, and then ends as told.
    async fn ends(
        store: &Store,
        number: usize,
        end: fn() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        store
            .write(move |connection| {
                Box::pin(async move {
                    crate::store::keys::touch(connection, &review(number), Timestamp::UNIX_EPOCH).await?;
                    end()
                })
            })
            .await
    }

    #[tokio::test]
    async fn a_burst_shares_few_commits_and_all_of_it_is_durable() {
        let folder = TempDir::new().unwrap();
        let store = open(&folder).await;
        let answers = join_all((0..1000).map(|number| {
            let store = store.clone();
            async move { store.touch(&[review(number)]).await }
        }))
        .await;
        assert!(answers.iter().all(Result::is_ok));
        assert!(store.commits() <= 50, "{} commits", store.commits());
        store.close().await;
        assert_eq!(open(&folder).await.pending_keys(2000).await.unwrap().len(), 1000);
    }

    #[tokio::test]
    async fn what_was_answered_survives_a_writer_that_was_never_closed() {
        let folder = TempDir::new().unwrap();
        let store = open(&folder).await;
        store.touch(&[review(1)]).await.unwrap();
        std::mem::forget(store);
        assert_eq!(open(&folder).await.pending_keys(10).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_intent_that_fails_or_panics_is_rolled_back_alone() {
        let folder = TempDir::new().unwrap();
        let store = open(&folder).await;
        let (failed, panicked, fine) = tokio::join!(
            ends(&store, 1, || Err(StoreError::Unreadable {
                what: "test",
                problem: "none".into()
            })),
            ends(&store, 2, || panic!("poison")),
            ends(&store, 3, || Ok(())),
        );
        assert!(matches!(failed, Err(StoreError::Unreadable { .. })));
        assert!(matches!(panicked, Err(StoreError::Panicked)));
        fine.unwrap();
        assert_eq!(store.commits(), 1, "all three were in one group");
        let kept = store.pending_keys(10).await.unwrap();
        assert_eq!(
            kept.into_iter().map(|pending| pending.key).collect::<Vec<_>>(),
            [review(3).key]
        );
    }

    #[tokio::test]
    async fn a_group_whose_transaction_breaks_is_answered_with_errors_and_the_next_one_works() {
        let folder = TempDir::new().unwrap();
        let store = open(&folder).await;
        let breaks = store.write(|connection| {
            Box::pin(async move {
                // As the database itself does when its disk is full.
                sqlx::raw_sql("ROLLBACK").execute(connection).await?;
                Ok(())
            })
        });
        let (broken, with_it) = tokio::join!(breaks, ends(&store, 1, || Ok(())));
        assert!(matches!(broken, Err(StoreError::Commit { .. })), "{broken:?}");
        assert!(matches!(with_it, Err(StoreError::Commit { .. })), "{with_it:?}");
        assert!(store.pending_keys(10).await.unwrap().is_empty());

        ends(&store, 2, || Ok(())).await.unwrap();
        assert_eq!(store.pending_keys(10).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_closed_store_says_so() {
        let folder = TempDir::new().unwrap();
        let store = open(&folder).await;
        let clone = store.clone();
        store.close().await;
        assert!(matches!(clone.touch(&[review(1)]).await, Err(StoreError::Closed)));
    }
}
