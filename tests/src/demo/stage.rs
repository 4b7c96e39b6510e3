//! What the story plays on: the lab, the agent, and an eye on what the agent thinks of the masters.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use super::voice::Voice;
use crate::Lab;
use crate::interrupt;
use crate::lab::{Agent, Master};

/// Between two looks: short beside what is told, long enough to leave the cores to the rest.
const LOOK: Duration = Duration::from_millis(20);
/// Longest wait for anything that the story waits for; the longest that is expected is 7 s.
const PATIENCE: Duration = Duration::from_secs(20);

/// The lab with an agent in it.
pub(super) struct Stage<'a> {
    pub(super) lab: &'a Lab,
    pub(super) voice: Voice,
    agent: Agent,
    /// Each master's health when last looked at.
    seen: RefCell<BTreeMap<String, String>>,
}

impl<'a> Stage<'a> {
    /// Starts the agent.
    pub(super) fn new(lab: &'a Lab, voice: Voice) -> anyhow::Result<Self> {
        Ok(Self { lab, voice, agent: lab.start_agent()?, seen: RefCell::default() })
    }

    /// SIGKILL, which the agent learns nothing of.
    pub(super) fn kill_agent(&mut self) -> anyhow::Result<()> {
        self.agent.kill()
    }

    /// Starts another one in place of one that was killed.
    pub(super) fn start_agent(&mut self) -> anyhow::Result<()> {
        self.agent = self.lab.start_agent()?;
        Ok(())
    }

    /// SIGTERM, and waits for its end.
    pub(super) fn end_agent(&mut self) -> anyhow::Result<()> {
        self.agent.terminate(PATIENCE)?.success()?;
        Ok(())
    }

    /// Runs an lbctl command and quotes it.
    pub(super) fn show(&self, words: &[&str]) -> anyhow::Result<()> {
        self.voice.say(&format!("$ lbctl {}", words.join(" ")));
        self.voice.quote(&self.lab.lbctl(words)?.success()?);
        Ok(())
    }

    /// Waits until `done`, telling meanwhile what changes.
    pub(super) fn until(
        &self,
        what: &str,
        mut done: impl FnMut(&BTreeMap<String, String>) -> bool,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            // An agent that is away says nothing, and so nothing changes.
            if let Ok(healths) = self.look() {
                self.tell_changes(&healths);
                if done(&self.seen.borrow()) {
                    return Ok(());
                }
            }
            self.rest(began, what)?;
        }
    }

    /// Waits until the agent calls every master up.
    pub(super) fn until_all_up(&self) -> anyhow::Result<()> {
        let masters = self.lab.masters();
        self.until("all masters are up", |seen| masters.iter().all(|m| is(seen, m, "up")))
    }

    /// Waits until the agent has given this verdict.
    pub(super) fn until_health(&self, master: &Master, health: &str) -> anyhow::Result<()> {
        self.until(&format!("{} is {health}", master.name()), |seen| is(seen, master, health))
    }

    /// Lets it go on for a while, with the agent or without.
    pub(super) fn go_on(&self, duration: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        while began.elapsed() < duration {
            if let Ok(healths) = self.look() {
                self.tell_changes(&healths);
            }
            self.rest(began, "the next scene")?;
        }
        Ok(())
    }

    fn rest(&self, began: Instant, what: &str) -> anyhow::Result<()> {
        if interrupt::happened() {
            bail!("waited for: {what}");
        }
        if began.elapsed() > PATIENCE {
            bail!("{what}: not within {PATIENCE:?}; the agent's log:\n{}", self.agent.log());
        }
        sleep(LOOK);
        Ok(())
    }

    /// Health and reason of each master, by name.
    fn look(&self) -> anyhow::Result<Vec<(String, String, String)>> {
        let response = self.agent.request("GET", "/v1/backends", "")?;
        let view: Value = serde_json::from_str(&response.body).context("read the agent's answer")?;
        let backends = view["services"][0]["backends"].as_array().context("read the agent's answer")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let of = |master: &Master| {
            let address = master.address().to_string();
            let backend = backends.iter().find(|backend| backend["address"] == address)?;
            Some((master.name().to_owned(), text(&backend["health"]), text(&backend["reason"])))
        };
        Ok(self.lab.masters().iter().filter_map(of).collect())
    }

    fn tell_changes(&self, healths: &[(String, String, String)]) {
        let mut seen = self.seen.borrow_mut();
        for (master, health, reason) in healths {
            let before = seen.insert(master.clone(), health.clone()).unwrap_or_else(|| "unknown".into());
            if before != *health {
                let why = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
                let text = format!("agent: {master} {before} -> {health}{why}");
                if health == "up" { self.voice.good(&text) } else { self.voice.say(&text) }
            }
        }
    }
}

fn is(seen: &BTreeMap<String, String>, master: &Master, health: &str) -> bool {
    seen.get(master.name()).is_some_and(|now| now == health)
}
