//! Which server has which slots.

use redis::Value;

use crate::names::SLOTS;
use crate::options::Address;

/// What a cluster said of its slots, or a server that has all of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Topology {
    /// First and last slot, ascending.
    ranges: Vec<(u16, u16, Address)>,
}

impl Topology {
    /// One server for all.
    pub(super) fn single(address: Address) -> Self {
        Self {
            ranges: vec![(0, SLOTS - 1, address)],
        }
    }

    /// What `CLUSTER SLOTS` answered at a server.
    pub(super) fn parse(reply: &Value, asked: &Address) -> Option<Self> {
        let Value::Array(entries) = reply else { return None };
        let mut ranges = Vec::new();
        for entry in entries {
            let Value::Array(parts) = entry else { return None };
            let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = parts.as_slice() else {
                return None;
            };
            let [host, Value::Int(port), ..] = master.as_slice() else {
                return None;
            };
            let host = match host {
                Value::BulkString(host) => std::str::from_utf8(host).ok()?,
                Value::SimpleString(host) => host,
                _ => "",
            };
            let address = Address {
                // As the server was reached, where it does not know its own name.
                host: if matches!(host, "" | "?") {
                    asked.host.clone()
                } else {
                    host.to_owned()
                },
                port: u16::try_from(*port).ok()?,
            };
            ranges.push((u16::try_from(*first).ok()?, u16::try_from(*last).ok()?, address));
        }
        ranges.sort();
        Some(Self { ranges })
    }

    /// The server that has a slot.
    pub(super) fn owner(&self, slot: u16) -> Option<&Address> {
        let at = self.ranges.partition_point(|(_, last, _)| *last < slot);
        let (first, _, address) = self.ranges.get(at)?;
        (*first <= slot).then_some(address)
    }

    /// All servers that have slots.
    pub(super) fn masters(&self) -> Vec<Address> {
        let mut masters: Vec<Address> = self
            .ranges
            .iter()
            .map(|(_, _, address)| address.clone())
            .collect();
        masters.sort();
        masters.dedup();
        masters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_have_the_servers_that_a_cluster_names() {
        let bulk = |text: &str| Value::BulkString(text.into());
        let range = |first, last, host, port| {
            let master = Value::Array(vec![host, Value::Int(port), bulk("id")]);
            Value::Array(vec![Value::Int(first), Value::Int(last), master])
        };
        let asked = Address {
            host: "asked".into(),
            port: 1,
        };
        let reply = Value::Array(vec![range(10, 16_383, bulk("b"), 2), range(0, 5, Value::Nil, 1)]);
        let topology = Topology::parse(&reply, &asked).unwrap();
        let owner = |slot| topology.owner(slot).map(Address::to_string);
        assert_eq!(owner(0).as_deref(), Some("asked:1"));
        assert_eq!(owner(5).as_deref(), Some("asked:1"));
        assert_eq!((owner(6), owner(9)), (None, None));
        assert_eq!(owner(10).as_deref(), Some("b:2"));
        assert_eq!(owner(16_383).as_deref(), Some("b:2"));
        assert_eq!(topology.masters().len(), 2);
        assert_eq!(Topology::parse(&Value::Nil, &asked), None);
    }
}
