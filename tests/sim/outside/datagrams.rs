//! Datagrams of agents.

use ovid::agent::{Agent, Carries, Input, Inward, NoMessage, Outbox, Outward, Session};
use ovid::rng::Probability;
use ovid::sim::{Carrier, Delay, Settings, World};
use ovid::time::Time;

use super::caller::{A, B, LETTERS, apart, listen, news, tell, wait};
use crate::probe::ms;

#[test]
fn datagrams_travel_alone_and_not_through_partitions() {
    for carrier in [Carrier::Stream, Carrier::Datagram] {
        let mut settings = Settings::new(1, carrier);
        settings.delay = Delay::Fixed(ms(5));
        let mut world: World<Listener> = World::new(settings);
        for _ in [A, B] {
            world.add(Listener::default());
        }
        world.run_until(world.now());
        let letter = |text: &str| format!("letter 10.0.0.2:8888 {text}");
        world.command(A, Session(0), &letter("one"));
        let [there, back] = world.partition(&[A], &[B]);
        world.command(A, Session(0), &letter("two"));
        world.heal(back);
        world.run_until(world.now() + ms(100));
        assert_eq!(world.agent(B).map(|agent| agent.0.len()), Some(0), "neither sent nor arrived in it");
        world.heal(there);
        world.command(A, Session(0), &letter("three"));
        world.command(A, Session(0), "letter 10.0.0.2:8889 nobody");
        world.run_until(world.now() + ms(100));
        let heard = &world.agent(B).expect("alive").0;
        assert_eq!(heard, &["three from 10.0.0.1:8888"], "{carrier:?}");
        assert_eq!(world.wrong(), None);
    }
}

/// Listens for datagrams alone.
#[derive(Debug, Default)]
struct Listener(Vec<String>);

impl Agent for Listener {
    type Msg = NoMessage;

    fn handle(&mut self, _: Time, input: Input<'_, NoMessage>, out: &mut Outbox<NoMessage>) {
        match input {
            Input::Start => {
                listen(out, LETTERS, "0.0.0.0:8888".parse().expect("an address"), Carries::Datagrams);
            }
            Input::Commands { mut commands } => {
                let line = String::from_utf8(commands.take().expect("a line").to_vec()).expect("text");
                let words: Vec<&str> = line.split(' ').collect();
                let (to, bytes) = (words[1].parse().expect("an address"), words[2].to_owned().into());
                out.outside(Outward::Datagram { port: LETTERS, to, bytes });
            }
            Input::Outside(Inward::Datagram { from, bytes, .. }) => {
                self.0.push(format!("{} from {from}", String::from_utf8_lossy(bytes)));
            }
            _ => {}
        }
    }
}

#[test]
fn datagrams_are_lost_repeated_and_reordered_as_settings_say() {
    let letters = |change: fn(&mut Settings)| {
        let mut world = apart(|settings| {
            settings.delay = Delay::uniform_ms(1, 50);
            change(settings);
        });
        for number in 0..200 {
            tell(&mut world, A, &format!("letter 10.0.0.2:8888 {number:03}"));
        }
        wait(&mut world, 100);
        news(&world, B)
    };
    let all = letters(|_| ());
    assert!(all.len() == 200 && all.is_sorted());
    let lost = letters(|settings| settings.loss = Probability::percent(50)).len();
    assert!((60..140).contains(&lost), "{lost}");
    let repeated = letters(|settings| settings.duplicate = Probability::percent(50)).len();
    assert!((260..340).contains(&repeated), "{repeated}");
    let reordered = letters(|settings| settings.reorder = true);
    assert!(reordered.len() == 200 && !reordered.is_sorted());
}
