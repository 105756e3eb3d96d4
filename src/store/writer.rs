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
            result: Err(StoreError::Closed),
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
    result: Result<T, StoreError>,
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
                self.result = work.catch_unwind().await.unwrap_or(Err(StoreError::Panicked));
            }
            self.result.is_ok()
        })
    }

    fn answer(self: Box<Self>, group: Result<(), StoreError>) {
        let result = match (self.result, group) {
            (Ok(_), Err(failed)) => Err(failed),
            (result, _) => result,
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
