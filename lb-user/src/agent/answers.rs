//! What operators are told, and when.

use std::collections::BTreeMap;

use lb_core::{operator::OperatorError, view::BackendView};
use tokio::sync::oneshot;

/// Operators who wait for an answer.
#[derive(Default)]
pub(super) struct Answers {
    tickets: u64,
    /// For the controller.
    undecided: BTreeMap<u64, Reply>,
    /// For the kernel: an answer says what is in force, so that `lbctl backends drain` can be relied on.
    decided: Vec<Decided>,
}

pub(super) type Reply = oneshot::Sender<Result<BackendView, OperatorError>>;

struct Decided {
    /// The order that brings it about.
    generation: u64,
    reply: Reply,
    result: Result<BackendView, OperatorError>,
}

impl Answers {
    /// Somebody waits from now on. Gives the ticket under which the controller will decide.
    pub(super) fn expected(&mut self, reply: Reply) -> u64 {
        self.tickets += 1;
        self.undecided.insert(self.tickets, reply);
        self.tickets
    }

    /// The controller has decided; the order of this number brings it about.
    pub(super) fn decided(
        &mut self,
        ticket: u64,
        generation: u64,
        result: Result<BackendView, OperatorError>,
    ) {
        // Bounded by the clients that still wait: the servers let in a few at once.
        self.decided.retain(|decided| !decided.reply.is_closed());
        if let Some(reply) = self.undecided.remove(&ticket) {
            self.decided.push(Decided { generation, reply, result });
        }
    }

    /// Answers those whose order the reconciler has been through, whatever came of it: status tells.
    pub(super) fn give(&mut self, reported: u64) {
        for decided in self.decided.extract_if(.., |decided| decided.generation <= reported) {
            // The client may have given up.
            let _ = decided.reply.send(decided.result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_answered_once_the_kernel_follows_and_not_before() {
        let mut answers = Answers::default();
        let (reply, mut answer) = oneshot::channel();
        let result = Err(OperatorError::ZeroPort { address: "10.0.0.1:0".parse().unwrap() });
        let ticket = answers.expected(reply);
        answers.decided(ticket, 7, result);
        answers.give(6);
        assert!(answer.try_recv().is_err());
        answers.give(7);
        assert!(answer.try_recv().unwrap().is_err());
        assert!(answers.decided.is_empty());
    }
}
