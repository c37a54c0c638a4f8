//! What the program calls to send one message to many connections.

use evws_proto::connection::Prepared;
use std::rc::Rc;

use super::Context;
use crate::event::Id;
use crate::traffic::{OnSlow, Position, PublishOptions, SendError, TopicOptions};

/// A message for many connections.
#[derive(Clone, Copy, Debug)]
pub enum FanoutMessage<'a> {
    /// One that was prepared, by its number.
    Prepared(u64),
    /// One that is prepared for this call alone.
    New {
        /// Whether it is binary, or else text.
        is_binary: bool,
        /// Whether it goes out compressed where that was agreed on.
        is_compressible: bool,
        /// The message.
        payload: &'a [u8],
    },
}

impl Context {
    /// Frames a message once for many connections. Returns its number, which is never 0.
    ///
    /// # Errors
    /// [`SendError::NoMemory`]
    pub fn prepare(
        &mut self,
        is_binary: bool,
        is_compressible: bool,
        payload: &[u8],
    ) -> Result<u64, SendError> {
        self.traffic.prepare(is_binary, is_compressible, payload)
    }

    /// A prepared message will not be named any more. Queues that have it keep it as long as they need it.
    pub fn forget_prepared(&mut self, number: u64) {
        self.traffic.forget_prepared(number);
    }

    /// `None`: it was forgotten.
    fn message(&self, message: FanoutMessage<'_>) -> Result<Option<Rc<Prepared>>, SendError> {
        match message {
            FanoutMessage::Prepared(number) => Ok(self.traffic.prepared(number)),
            FanoutMessage::New {
                is_binary,
                is_compressible,
                payload,
            } => {
                let prepared = Prepared::new(is_binary, is_compressible, payload)?;
                Ok(Some(Rc::new(prepared)))
            }
        }
    }

    /// Queues a prepared message for one connection. Returns false if there is no such message.
    ///
    /// # Errors
    /// Those of [`send`](Self::send).
    pub fn send_prepared(&mut self, id: Id, number: u64) -> Result<bool, SendError> {
        let Some(message) = self.traffic.prepared(number) else {
            return Ok(false);
        };
        self.traffic(|traffic, shared| traffic.send_prepared(id, &message, shared))?;
        Ok(true)
    }

    /// Queues a message for these connections. Returns for how many it was queued; those that are not open do not count, nor
    /// do ids that come a second time.
    ///
    /// # Errors
    /// [`SendError::NoMemory`]
    pub fn broadcast(
        &mut self,
        message: FanoutMessage<'_>,
        ids: &[Id],
        except: Id,
    ) -> Result<usize, SendError> {
        let Some(message) = self.message(message)? else {
            return Ok(0);
        };
        let reactor = &self.reactor;
        Ok(self.traffic.broadcast(&message, ids, except, reactor))
    }

    /// Queues a message for the subscribers of a topic, as [`broadcast`](Self::broadcast).
    ///
    /// # Errors
    /// [`SendError::NoMemory`]
    pub fn broadcast_to(
        &mut self,
        message: FanoutMessage<'_>,
        topic: &[u8],
        except: Id,
    ) -> Result<usize, SendError> {
        let ids = self.traffic.subscriber_ids(topic);
        self.broadcast(message, &ids, except)
    }

    /// Publishes a message to the subscribers of a topic, to whom it is delivered by the next flush, or by any call in between
    /// that could tell the difference. Returns how many they are.
    ///
    /// # Errors
    /// [`SendError::NoMemory`]
    pub fn publish(
        &mut self,
        topic: &[u8],
        message: FanoutMessage<'_>,
        options: &PublishOptions<'_>,
    ) -> Result<usize, SendError> {
        self.reactor.clock().begin_turn();
        let Some(message) = self.message(message)? else {
            return Ok(0);
        };
        let reactor = &mut self.reactor;
        Ok(self.traffic.publish(topic, &message, options, reactor))
    }

    /// Subscribes an open connection to a topic, or changes what becomes of messages that it is too slow for. With `since` it
    /// is sent first what was published after that. Returns false if not all of that is there any more; it has
    /// subscribed all the same, and gets what is published from now on.
    ///
    /// # Errors
    /// [`SendError::NotOpen`]
    pub fn subscribe(
        &mut self,
        id: Id,
        topic: &[u8],
        on_slow: Option<OnSlow>,
        since: Option<Position>,
    ) -> Result<bool, SendError> {
        self.reactor.clock().begin_turn();
        let reactor = &self.reactor;
        self.traffic.subscribe(id, topic, on_slow, since, reactor)
    }

    /// Ends a subscription. Returns whether there was one.
    pub fn unsubscribe(&mut self, id: Id, topic: &[u8]) -> bool {
        self.traffic.unsubscribe(id, topic, &self.reactor)
    }

    /// Says what a topic does besides having subscribers.
    pub fn set_topic(&mut self, topic: &[u8], options: &TopicOptions) {
        self.reactor.clock().begin_turn();
        self.traffic.set_topic(topic, options, &mut self.reactor);
    }

    /// Where a topic stands; `None`: nobody counts its messages.
    pub fn position(&self, topic: &[u8]) -> Option<Position> {
        self.traffic.position(topic)
    }

    /// How many connections have subscribed to a topic.
    pub fn subscribers(&self, topic: &[u8]) -> usize {
        self.traffic.subscribers(topic)
    }

    /// The topics that have subscribers or are recorded, in no order; of a connection, those that it has subscribed to.
    pub fn topics(&self, of: Option<Id>) -> Vec<Vec<u8>> {
        match of {
            Some(id) => self.traffic.topics_of(id),
            None => self.traffic.topics(),
        }
    }

    /// Whether [`Event::TopicUsed`](crate::Event::TopicUsed) is wanted. Topics that have subscribers at that time are told of
    /// at once.
    pub fn watch_topics(&mut self, is_wanted: bool) {
        self.traffic.watch_topics(is_wanted);
    }
}
