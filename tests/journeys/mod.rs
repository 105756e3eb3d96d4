//! What people live through, from a push to a result: the whole product over real git, HTTP and webhooks. Each journey
//! looks at what was really made, at the verdict, and at what somebody is told to do next.

mod budget;
mod by_hand;
mod commands;
mod each_call;
mod files;
mod life;
mod main_job;
mod outage;
mod policy;
mod push;
mod repository;
mod secrets;
mod trouble;
mod unsigned;
mod ways;
mod weather;
