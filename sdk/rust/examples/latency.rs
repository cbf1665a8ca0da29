//! Slow look-ups, to see how a program takes them. A plug-in cannot wait: all clients of the data worker would wait with it. So it
//! drops a part of the queries, and the client's resolver asks again after its own timeout (5 s unless resolv.conf says otherwise).
//! config: "10 slow.example", how many of 100 queries are dropped, and for which name and those below; without a name for all.
#![no_std]
#![no_main]

use byname_plugin::{bytes_above, count, name_counter, parse_name, parse_number, random, words, Action, Plugin, Query};

struct Latency {
    percent: u32,
    name: [u8; 256],
    length: usize,
}

impl Plugin for Latency {
    fn configure(&mut self, config: &[u8]) -> Result<(), i32> {
        name_counter(0, "dropped");
        let mut words = words(config);
        self.percent = parse_number(words.next().ok_or(1)?).ok_or(1)?;
        if let Some(word) = words.next() {
            self.length = parse_name(word, &mut self.name).ok_or(1)?;
        }
        Ok(())
    }

    fn query(&mut self, query: &mut Query) -> Action {
        if bytes_above(query.name(), &self.name[..self.length]).is_none() || random() % 100 >= self.percent {
            return Action::Pass;
        }
        count(0, 1);
        Action::Drop
    }
}

byname_plugin::export!(Latency, Latency { percent: 0, name: [0; 256], length: 1 });
